// Sending a file to the app and finding files in what was dropped or pasted; the composer says what comes of it.
globalThis.uploads = { send, filesOf };

// Returns what the app says about the file. Throws an error with a `code`: the app's own, or 'offline', 'failed' or 'aborted'.
function send(file, name, signal, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells no progress
    request.open('POST', '/api/attachments?name=' + encodeURIComponent(name));
    request.responseType = 'json';
    request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
    request.onload = () => (request.status === 201 ? resolve(request.response) : reject(refusal(request.response)));
    request.onerror = () => reject({ code: 'offline' });
    request.onabort = () => reject({ code: 'aborted' });
    signal.addEventListener('abort', () => request.abort());
    request.send(file);
  });
}

function refusal(response) {
  const error = response?.error;
  return { code: error?.code?.replace(/^file_/, '') ?? 'failed', message: error?.message };
}

// The files of a DataTransfer, folders among them as `{ name, isFolder: true }`; they cannot be read as files.
function filesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  return items.map((item) => {
    const entry = item.webkitGetAsEntry?.();
    return entry?.isDirectory ? { name: entry.name, isFolder: true } : item.getAsFile();
  }).filter(Boolean);
}
