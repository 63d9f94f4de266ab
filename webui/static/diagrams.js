// Diagrams in replies. They are drawn elsewhere, in a frame that can do nothing else (webui/diagrams.py), when they come
// into view; here they are pictures, in which nothing acts.
const PATIENCE = 10_000; // milliseconds
const LARGEST = 2_000_000; // characters of a picture
const drawn = new Map(); // pictures by theme and source, so that what is shown again is not drawn again
const waiting = new Map();
const words = JSON.parse(document.querySelector('meta[name=code-words]')?.content ?? '{}');
let frame = null;
let ready = null;
let last = Promise.resolve();
let count = 0;

class ChatDiagram extends HTMLElement {
  connectedCallback() {
    this.block = this.closest('.code-block');
    inView.observe(this);
    themes.observe(document.body, { attributes: true, attributeFilter: ['class'] });
  }

  disconnectedCallback() {
    inView.unobserve(this);
    this.toggle?.remove();
  }

  async show() {
    const code = this.block.querySelector('.code-body').textContent;
    const theme = document.body.classList.contains('body--dark') ? 'dark' : 'light';
    if (this.theme === theme) return;
    this.theme = theme;
    const svg = await picture(code, theme);
    if (!this.isConnected || this.theme !== theme) return;
    const size = /viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"/.exec(svg);
    if (!svg || !size) {
      this.fail();
      return;
    }
    const [width, height] = [Math.ceil(size[1]), Math.ceil(size[2])];
    const image = new Image(width, height);
    // What would be too small to read in its column scrolls instead.
    image.style.minWidth = `${Math.max(Math.min(width, 640), width * 0.45)}px`;
    image.alt = words.diagram;
    image.className = 'diagram-picture';
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    try {
      await image.decode();
    } catch {
      this.fail();
      return;
    }
    this.replaceChildren(image);
    this.tabIndex = 0; // scrolls
    this.dataset.state = this.dataset.state === 'source' ? 'source' : 'drawn';
    this.addToggle();
  }

  fail() {
    const note = document.createElement('p');
    note.className = 'diagram-note';
    note.textContent = words['no-diagram'];
    this.replaceChildren(note);
    this.dataset.state = 'failed';
  }

  addToggle() {
    if (this.toggle) return;
    const tools = this.block.querySelector('code-tools');
    this.toggle = tools.add('diagram-toggle', '', () => {
      this.dataset.state = this.dataset.state === 'source' ? 'drawn' : 'source';
      this.nameToggle();
    });
    tools.prepend(this.toggle);
    this.nameToggle();
  }

  nameToggle() {
    this.toggle.textContent = words[this.dataset.state === 'source' ? 'show-diagram' : 'show-source'];
  }
}

const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) target.show();
}, { rootMargin: '400px' });

const themes = new MutationObserver(() => {
  for (const diagram of document.querySelectorAll('chat-diagram[data-state]')) {
    inView.unobserve(diagram);
    inView.observe(diagram); // draws it again if it is in view
  }
});

async function picture(code, theme) {
  const key = `${theme} ${code}`;
  if (!drawn.has(key)) {
    if (drawn.size >= 50) drawn.delete(drawn.keys().next().value);
    drawn.set(key, inTurn(() => draw(code, theme)));
  }
  return drawn.get(key);
}

function inTurn(work) {
  last = last.then(work, work);
  return last;
}

async function draw(code, theme) {
  const id = ++count;
  const answer = new Promise((resolve) => waiting.set(id, resolve));
  const timer = setTimeout(() => giveUp(id), PATIENCE);
  theFrame().then((target) => target.postMessage({ id, code, dark: theme === 'dark', colours: colours() }, '*'));
  const svg = await answer;
  clearTimeout(timer);
  return svg.length <= LARGEST ? svg : '';
}

function giveUp(id) {
  frame?.remove();
  frame = ready = null;
  settle(id, '');
}

function settle(id, svg) {
  waiting.get(id)?.(typeof svg === 'string' ? svg : '');
  waiting.delete(id);
}

function theFrame() {
  if (frame) return ready.promise;
  ready = Promise.withResolvers();
  frame = document.createElement('iframe');
  frame.setAttribute('sandbox', 'allow-scripts');
  frame.setAttribute('aria-hidden', 'true');
  frame.tabIndex = -1;
  frame.src = '/diagrams/frame.html';
  frame.style.cssText = 'position:fixed;left:-9999px;top:0;width:1200px;height:900px;border:0;visibility:hidden';
  document.body.append(frame);
  return ready.promise;
}

addEventListener('message', ({ source, data }) => {
  if (!frame || source !== frame.contentWindow) return;
  if (data?.ready) ready.resolve(source);
  else settle(data?.id, data?.svg);
});

function colours() {
  const style = getComputedStyle(document.body);
  const [page, side, hover, line, text, muted] = ['page', 'side', 'hover', 'line', 'text', 'muted'].map((name) =>
    style.getPropertyValue(`--${name}`).trim(),
  );
  return {
    background: page, primaryColor: side, secondaryColor: hover, tertiaryColor: side,
    primaryTextColor: text, secondaryTextColor: text, tertiaryTextColor: text, textColor: text, titleColor: text,
    primaryBorderColor: muted, secondaryBorderColor: line, tertiaryBorderColor: line, lineColor: muted,
    noteBkgColor: hover, noteTextColor: text, noteBorderColor: line, edgeLabelBackground: page,
  };
}

customElements.define('chat-diagram', ChatDiagram);
