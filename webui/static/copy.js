// Copying, for the buttons of messages and of code blocks. The latter come and go, so one listener serves all of them.
globalThis.copyText = copyText;

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP, as on a local network, browsers offer no clipboard.
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const opener = document.activeElement;
  const field = document.createElement('textarea');
  field.value = text;
  field.readOnly = true;
  field.style.cssText = 'position:fixed;top:0;left:0;opacity:0';
  document.body.append(field);
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  opener?.focus({ preventScroll: true });
  return copied;
}

document.addEventListener('click', async (event) => {
  const button = event.target instanceof Element && event.target.closest('.copy-code');
  if (!button) return;
  const copied = await copyText(button.closest('.code-block').querySelector('.code-body').textContent);
  button.label ??= button.textContent;
  button.textContent = copied ? button.dataset.copied : button.dataset.failed;
  clearTimeout(button.reset);
  button.reset = setTimeout(() => (button.textContent = button.label), 1500);
});

// Whether long lines of code wrap is one choice for all code, and this browser remembers it.
const WRAP = 'wrap-code';

class CodeWrap extends HTMLElement {
  connectedCallback() {
    this.show();
    this.addEventListener('click', toggleWrap);
  }

  show() {
    this.firstElementChild?.setAttribute('aria-pressed', String(wraps()));
  }
}

function wraps() {
  return document.documentElement.classList.contains(WRAP);
}

function toggleWrap() {
  const wrapped = document.documentElement.classList.toggle(WRAP);
  for (const element of document.querySelectorAll('code-wrap')) element.show();
  try {
    if (wrapped) localStorage.setItem(WRAP, '1');
    else localStorage.removeItem(WRAP);
  } catch {
    // This browser keeps nothing.
  }
}

try {
  document.documentElement.classList.toggle(WRAP, localStorage.getItem(WRAP) === '1');
} catch {
  // This browser keeps nothing.
}
customElements.define('code-wrap', CodeWrap);
