// Keys of the whole page, and the browser's back button: both become events for the server.
const keys = {
  'ctrl+,': 'settings',
  'ctrl+b': 'sidebar',
  'ctrl+shift+o': 'new-chat',
  escape: 'stop',
};

document.addEventListener('keydown', (event) => {
  const modifiers = [event.ctrlKey || event.metaKey ? 'ctrl+' : '', event.shiftKey ? 'shift+' : ''].join('');
  const command = keys[modifiers + event.key.toLowerCase()];
  if (!command || event.isComposing || (command === 'stop' && document.querySelector('.q-dialog, .q-menu'))) return;
  if (command !== 'stop') event.preventDefault();
  emitEvent('command', command);
});

// On a narrow screen the sidebar lies over the page, so it goes when something in it was chosen.
document.addEventListener('click', (event) => {
  if (innerWidth < 900 && event.target.closest('.chat-link, .new-chat')) emitEvent('command', 'hide-sidebar');
});

window.addEventListener('popstate', () => emitEvent('visit', location.pathname + location.search));
