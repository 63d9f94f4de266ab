// One listener for the copy buttons of all code blocks, now and later.
document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element && event.target.closest(".copy-code");
  if (!button) return;
  const code = button.closest(".code-block").querySelector(".code-body").textContent;
  const copied = await copy(code, button);
  button.textContent = copied ? "Copied" : "Not copied";
  clearTimeout(button.reset);
  button.reset = setTimeout(() => (button.textContent = "Copy"), 1500);

  async function copy(text, opener) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Over plain HTTP, as on a local network, browsers offer no clipboard.
      return copyBySelection(text, opener);
    }
  }

  function copyBySelection(text, opener) {
    const field = document.createElement("textarea");
    field.value = text;
    field.readOnly = true;
    field.style.cssText = "position:fixed;top:0;left:0;opacity:0";
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    opener.focus({ preventScroll: true });
    return copied;
  }
});
