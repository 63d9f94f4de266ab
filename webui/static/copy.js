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
  button.textContent = copied ? 'Copied' : 'Not copied';
  clearTimeout(button.reset);
  button.reset = setTimeout(() => (button.textContent = 'Copy'), 1500);
});
