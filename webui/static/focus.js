// Where the keyboard goes when the sidebar or the settings open or close.
const CONTROLS = 'button, input, textarea, select, a[href], [tabindex="0"]';
const openers = {};

globalThis.drawerMoved = (side, isShown) => {
  const drawer = document.querySelector(`.q-drawer--${side}`);
  const covers = isShown && drawer.classList.contains('q-drawer--mobile');
  coverPage(covers);
  if (covers || (isShown && side === 'right')) enter(drawer, side);
  if (!isShown) leave(drawer, side);
};

// What lies under a drawer on a narrow screen cannot be reached, by Tab or by a screen reader.
function coverPage(isCovered) {
  for (const part of document.querySelectorAll('.page, .nicegui-skip-link')) part.inert = isCovered;
}

function enter(drawer, side) {
  if (drawer.contains(document.activeElement)) return;
  openers[side] = document.activeElement;
  drawer.querySelector(CONTROLS)?.focus();
}

function leave(drawer, side) {
  const isLost = document.activeElement === document.body || drawer.contains(document.activeElement);
  if (isLost) openers[side]?.focus();
}

// A screen that grows wide shows both side by side again.
matchMedia('(min-width: 900px)').addEventListener('change', (event) => event.matches && coverPage(false));
