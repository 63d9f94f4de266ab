// Copying, for the buttons of messages and of code blocks.
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

// The buttons above code. Whether long lines wrap is one choice for all code, and this browser remembers it.
const WRAP = 'wrap-code';
const words = JSON.parse(document.querySelector('meta[name=code-words]')?.content ?? '{}');

class CodeTools extends HTMLElement {
  connectedCallback() {
    if (this.copy) return;
    this.wrap = this.add('wrap-code', words.wrap, toggleWrap);
    this.copy = this.add('copy-code', words.copy, () => this.copyCode());
    this.showWrap();
  }

  add(name, text, act) {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', className: name, textContent: text, onclick: act });
    button.dataset.testid = name;
    this.append(button);
    return button;
  }

  showWrap() {
    this.wrap.setAttribute('aria-pressed', String(wraps()));
  }

  async copyCode() {
    const copied = await copyText(this.closest('.code-block').querySelector('.code-body').textContent);
    this.copy.textContent = copied ? words.copied : words['not-copied'];
    clearTimeout(this.reset);
    this.reset = setTimeout(() => (this.copy.textContent = words.copy), 1500);
  }
}

function wraps() {
  return document.documentElement.classList.contains(WRAP);
}

function toggleWrap() {
  const wrapped = document.documentElement.classList.toggle(WRAP);
  for (const tools of document.querySelectorAll('code-tools')) tools.showWrap();
  remember(() => (wrapped ? localStorage.setItem(WRAP, '1') : localStorage.removeItem(WRAP)));
}

function remember(act) {
  try {
    return act();
  } catch {
    return null; // this browser keeps nothing
  }
}

document.documentElement.classList.toggle(WRAP, remember(() => localStorage.getItem(WRAP)) === '1');
customElements.define('code-tools', CodeTools);
