// Keys of the whole page, and the browser's back button: both become events for the server.
// Which combination is which command stands in the page, where the server writes what the person chose.
const MODIFIERS = ['control', 'shift', 'alt', 'meta', 'altgraph', 'capslock', 'fn', 'dead', 'process', 'unidentified'];
const isMac = /Mac|iPhone|iPad/.test(navigator.userAgent);

globalThis.combination = combination;
globalThis.commandOf = (event) => bindings()[combination(event)]?.command;

// The combination that an event stands for, written as in webui/commands.py; '' while only modifiers are pressed.
function combination(event) {
  const foreign = event.key.length === 1 && !/[ -~]/.test(event.key) && /^(?:Key|Digit)(.)$/.exec(event.code);
  const key = (foreign ? foreign[1] : event.key).toLowerCase();
  if (MODIFIERS.includes(key)) return '';
  // Where a sign needs Shift differs between keyboards, as with / on a German one.
  const isSign = key.length === 1 && key === key.toUpperCase() && key !== ' ';
  const ctrl = isMac ? event.metaKey : event.ctrlKey;
  return [ctrl && 'ctrl', event.altKey && 'alt', event.shiftKey && !isSign && 'shift', key].filter(Boolean).join('+');
}

document.addEventListener('keydown', (event) => {
  if (event.isComposing || event.keyCode === 229 || event.defaultPrevented) return;
  const found = bindings()[combination(event)];
  if (!found || !worksAt(event.target, found.where) || isBelowDialog(found.command)) return;
  if (found.command !== 'stop') event.preventDefault();
  run(found.command, event.target);
});

// A part of the page that can do what is commanded by itself does it and cancels the event; else the server is told.
function run(command, target) {
  const event = new CustomEvent('page-command', { detail: command, bubbles: true, cancelable: true });
  if (target.dispatchEvent(event)) emitEvent('command', command);
}

function bindings() {
  return JSON.parse(document.querySelector('[data-bindings]')?.dataset.bindings ?? '{}');
}

function worksAt(target, where) {
  if (where === 'page') return true;
  const isComposer = target instanceof Element && target.matches('[data-testid=composer]');
  return isComposer && (where === 'composer' || !target.value);
}

// What lies over the page has its own keys; a menu only takes the one that closes it.
function isBelowDialog(command) {
  return document.querySelector('.q-dialog, dialog[open]') || (command === 'stop' && document.querySelector('.q-menu'));
}

// On a narrow screen sidebar and settings lie over the page, and close as anything does that lies over it; before the
// fields in them get to know of it, some of which keep this key to themselves.
function closeDrawer(event) {
  if (event.key !== 'Escape' || event.isComposing || document.querySelector('.q-menu, .q-dialog, dialog[open]')) return;
  const backdrop = document.querySelector('.q-drawer__backdrop:not(.hidden)');
  if (!backdrop) return;
  event.stopImmediatePropagation();
  backdrop.click();
}

window.addEventListener('keydown', closeDrawer, { capture: true });

document.addEventListener('click', (event) => {
  if (innerWidth < 900 && event.target.closest('.chat-link, .new-chat')) emitEvent('command', 'hide-sidebar');
});

window.addEventListener('popstate', () => emitEvent('visit', location.pathname + location.search));
