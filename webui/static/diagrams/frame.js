// Draws one diagram after another for the page around it (static/diagrams.js); see webui/diagrams.py.
import { mermaid } from './index.js';

addEventListener('message', async ({ data, source }) => {
  try {
    source.postMessage({ id: data.id, svg: await draw(data) }, '*');
  } catch {
    source.postMessage({ id: data.id, svg: '' }, '*');
  }
});
parent.postMessage({ ready: true }, '*');

async function draw({ code, dark, colours }) {
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: 'strict',
    htmlLabels: false,
    flowchart: { htmlLabels: false },
    class: { htmlLabels: false },
    suppressErrorRendering: true,
    maxTextSize: 20_000,
    maxEdges: 250,
    theme: 'base',
    themeVariables: { ...colours, darkMode: dark, fontSize: '14px' },
    fontFamily: 'system-ui, sans-serif',
    secure: ['secure', 'securityLevel', 'startOnLoad', 'maxTextSize', 'maxEdges', 'suppressErrorRendering', 'htmlLabels',
      'flowchart', 'class', 'theme', 'themeCSS', 'themeVariables', 'fontFamily', 'dompurifyConfig'],
  });
  const { svg } = await mermaid.render('diagram', code);
  // Written as HTML, but a picture has to be XML.
  const drawing = new DOMParser().parseFromString(svg, 'text/html').querySelector('svg');
  return new XMLSerializer().serializeToString(drawing);
}
