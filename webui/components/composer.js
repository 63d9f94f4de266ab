// Where a message is written. The draft lives in the browser; it is given up only when the server has the message on disk.
// Files are read by the server at once and wait there, so that the draft holds no more than their ids.
const MEASURE_AFTER = 400; // milliseconds without a key
const KEPT = ['id', 'name', 'size', 'tokens', 'note'];
let lastKey = 0;

export default {
  template: `
    <div class="composer-whole" @focus="focus">
      <div v-if="error" class="composer-error" role="alert" data-testid="toast-error">{{ error }}</div>
      <div v-else-if="warning" class="composer-note" role="status" data-testid="context-warning">
        <span>{{ warning }}</span>
        <button type="button" class="composer-link" @click="$emit('context')">{{ words.context }}</button>
      </div>
      <div v-if="pasted" class="composer-note" role="status" data-testid="pasted">
        <span>{{ words.pasted }}</span>
        <button type="button" class="composer-link" data-testid="paste-undo" @click="unpaste">{{ words.pasted_undo }}</button>
      </div>
      <div class="composer">
        <div v-if="failures.length" class="failed-files">
          <div v-for="file in failures" :key="file.key" role="alert" data-testid="attachment-error">
            <span><b>{{ file.name }}</b> {{ file.error }}</span>
            <button type="button" class="file-remove" :aria-label="say('remove', file)" :title="say('remove', file)" @click="remove(file)">×</button>
          </div>
        </div>
        <ul v-if="sound.length" class="files" :aria-label="words.list">
          <li v-for="file in sound" :key="file.key" class="file" data-testid="composer-attachment" :data-state="file.state"
            :title="file.note ? words['note_' + file.note] : file.name">
            <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 1.7h5.2L12.8 5v9.3H4zM9 1.8V5.2h3.7" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linejoin="round"/></svg>
            <span class="file-name">{{ file.name }}</span>
            <span class="file-facts" data-testid="attachment-facts">{{ facts(file) }}</span>
            <span v-if="file.note" class="file-note" aria-hidden="true">!</span>
            <span v-if="file.note" class="unseen">{{ words['note_' + file.note] }}</span>
            <button type="button" class="file-remove" :aria-label="say('remove', file)" :title="say('remove', file)" @click="remove(file)">×</button>
            <span v-if="file.state !== 'ready'" class="file-progress" :class="file.state"><i :style="{ width: file.share * 100 + '%' }"></i></span>
          </li>
        </ul>
        <div class="composer-line">
          <button type="button" class="composer-attach" data-testid="attach" :aria-label="words.add" :title="words.add" @click="$refs.files.click()">
            <svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><path d="M16 9.2 9.7 15.5a3.7 3.7 0 0 1-5.3-5.3l6.7-6.6a2.5 2.5 0 0 1 3.6 3.5l-6.6 6.6a1.2 1.2 0 0 1-1.8-1.8l5.8-5.7" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/></svg>
          </button>
          <input ref="files" type="file" multiple hidden data-testid="attach-input" @change="choose">
          <textarea ref="text" rows="1" data-testid="composer" :aria-label="words.message" :placeholder="words.placeholder"
            v-model="draft" @input="changed" @page-command="command" @paste="paste"></textarea>
          <span v-if="draftTokens && draft" class="draft-tokens" data-testid="draft-tokens">{{ draftTokens }}</span>
          <button v-if="running" type="button" class="composer-button stop" data-testid="stop" :aria-label="words.stop"
            :title="words.stop" @click="$emit('stop')">
            <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true"><rect width="14" height="14" rx="3" fill="currentColor"/></svg>
          </button>
          <button v-if="!running || isWritten" type="button" class="composer-button" data-testid="send" :aria-label="sendName"
            :title="sendName" :disabled="sending || reading || !isWritten" @click="send">
            <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true"><path d="M9 15V3M3.5 8.5 9 3l5.5 5.5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>
          </button>
        </div>
      </div>
      <span class="unseen" role="status">{{ announced }}</span>
      <div v-if="over" class="drop-zone" data-testid="drop-zone" aria-hidden="true"><div><b>{{ words.drop }}</b><span>{{ words.drop_kinds }}</span></div></div>
    </div>`,
  props: {
    chatId: String, draftKey: String, running: Boolean, words: Object, limits: Object, model: String,
    subject: String, warning: String, draftTokens: String,
  },
  emits: ['stop', 'context', 'measured'],
  data: () => ({ draft: '', files: [], error: '', sending: false, over: false, pasted: null, announced: '' }),
  computed: {
    sound() {
      return this.files.filter((file) => file.state !== 'failed');
    },
    failures() {
      return this.files.filter((file) => file.state === 'failed');
    },
    ready() {
      return this.files.filter((file) => file.state === 'ready');
    },
    reading() {
      return this.sound.length > this.ready.length;
    },
    isWritten() {
      return this.sound.length > 0 || /\S/.test(this.draft);
    },
    sendName() {
      return this.running ? this.words.queue : this.words.send;
    },
  },
  watch: {
    draftKey() {
      if (this.draftKey !== this.sendingTo) this.restore(); // else a new chat got its name from what is being sent
    },
    subject() {
      this.measure();
    },
    model() {
      this.revalidate(this.draftKey); // another model counts other tokens
    },
  },
  mounted() {
    this.listen();
    this.restore();
    if (matchMedia('(hover: hover)').matches) this.focus();
  },
  unmounted() {
    clearTimeout(this.timer);
    this.ending.abort();
  },
  methods: {
    // Writing

    command(event) {
      if (event.detail === 'send' || (event.detail === 'edit-last' && this.files.length)) event.preventDefault();
      if (event.detail === 'send') this.send();
    },
    changed() {
      this.error = '';
      this.keep();
      this.grow();
      this.measureSoon();
    },
    grow() {
      if (CSS.supports('field-sizing', 'content')) return;
      const text = this.$refs.text;
      text.style.height = 'auto';
      text.style.height = text.scrollHeight + 'px';
    },
    focus() {
      this.$refs.text.focus();
    },
    setText(text) {
      this.draft = text;
      this.changed();
      this.$nextTick(() => (this.grow(), this.focus()));
    },
    async copy(text) {
      const button = document.activeElement;
      if (!(await copyText(text))) return;
      button?.classList.add('done');
      setTimeout(() => button?.classList.remove('done'), 1500);
    },

    // Sending

    async send() {
      const text = this.draft, key = this.draftKey, sent = this.ready;
      if (this.sending || !this.isWritten) return;
      if (this.reading) return void (this.error = this.words.wait);
      this.sending = true;
      this.sendingTo = this.chatId;
      window.dispatchEvent(new Event('message-sent'));
      try {
        await this.post({ text, attachments: sent.map((file) => file.id) });
        this.giveUp(text, key, sent);
      } catch (error) {
        this.error = error.message;
        if (error.code === 'not_found') this.revalidate(key);
      }
      this.sending = false;
      this.sendingTo = null;
      this.measure();
      this.$nextTick(this.grow);
    },
    giveUp(text, key, sent) {
      store('draft:' + key, '');
      store('files:' + key, '');
      if (this.draftKey !== key && this.draftKey !== this.sendingTo) return;
      if (this.draft === text) this.draft = '';
      this.files = this.files.filter((file) => !sent.includes(file) && file.state !== 'failed');
      this.pasted = null;
      this.error = '';
      this.keep();
      this.keepFiles();
    },
    async post(body) {
      const paths = this.running ? ['queue'] : ['messages', 'queue']; // a reply may have begun elsewhere
      for (const path of paths) {
        const answer = await this.request('POST', `/api/chats/${this.chatId}/${path}`, body);
        if (answer.ok) return;
        const error = (await answer.json().catch(() => ({}))).error;
        if (error?.code === 'reply_running' && path === 'messages') continue;
        throw Object.assign(new Error(error?.message ?? this.say('status', { status: answer.status })), error);
      }
    },
    async request(method, path, body) {
      try {
        return await fetch(path, { method, headers: { 'Content-Type': 'application/json' }, body: body && JSON.stringify(body) });
      } catch {
        throw new Error(this.words.offline);
      }
    },

    // Attaching

    choose(event) {
      this.attach([...event.target.files]);
      event.target.value = '';
    },
    paste(event) {
      const text = event.clipboardData.getData('text/plain');
      const found = text ? [] : uploads.filesOf(event.clipboardData); // programs put a picture beside the text they copy
      if (found.length) {
        event.preventDefault();
        this.attach(found);
      } else if (text.length > this.limits.paste) {
        event.preventDefault();
        const [file] = this.attach([new File([text], this.words.pasted_name, { type: 'text/plain' })]);
        this.pasted = { file: file.key, text, at: this.$refs.text.selectionStart, end: this.$refs.text.selectionEnd };
      }
    },
    unpaste() {
      const { file, text, at, end } = this.pasted;
      const attached = this.files.find((it) => it.key === file);
      if (attached) this.remove(attached);
      this.draft = this.draft.slice(0, at) + text + this.draft.slice(end);
      this.pasted = null;
      this.changed();
      this.$nextTick(() => {
        this.grow();
        this.focus();
        this.$refs.text.setSelectionRange(at + text.length, at + text.length);
      });
    },
    // Begins to upload the files and returns how they are shown.
    attach(found) {
      const room = Math.max(0, this.limits.most - this.sound.length), rest = found.slice(room);
      const shown = found.slice(0, room).map((file) => ({
        key: ++lastKey, name: file.name, size: file.size ?? 0, tokens: null, note: '', share: 0, error: '',
        state: 'uploading', reason: this.reasonAgainst(file),
      }));
      if (rest.length) this.files.push({ key: ++lastKey, name: listed(rest), state: 'failed', error: this.words.refused_too_many });
      this.files.push(...shown);
      this.error = '';
      const places = this.files.slice(this.files.length - shown.length); // as Vue watches them
      places.forEach((file, place) => (file.reason ? this.fail(file, { code: file.reason }) : this.upload(file, found[place])));
      this.focus();
      return places;
    },
    reasonAgainst(file) {
      if (file.isFolder) return 'folder';
      if (file.size > this.limits.largest) return 'too_large';
      return /^image\/(?!svg)/.test(file.type) ? 'image' : '';
    },
    async upload(file, content) {
      const key = this.draftKey, abort = new AbortController();
      this.aborts.set(file.key, abort);
      const progress = (share) => Object.assign(file, { share, state: share < 1 ? 'uploading' : 'reading' });
      try {
        const { id, name, size, tokens, note } = await uploads.send(content, file.name, abort.signal, progress);
        Object.assign(file, { id, name, size, tokens, note, state: 'ready' });
        this.announced = file.name + ', ' + this.facts(file);
        this.keepArrived(file, key);
      } catch (error) {
        if (error.code !== 'aborted') this.fail(file, error);
      }
      this.aborts.delete(file.key);
    },
    // The person may have gone to another chat meanwhile.
    keepArrived(file, key) {
      const here = this.draftKey === key || this.files.includes(file);
      if (here) return this.keepFiles(), this.measure();
      store('files:' + key, [...stored('files:' + key), pick(file)]);
    },
    fail(file, { code, message }) {
      if (this.pasted?.file === file.key && code === 'offline') return this.unpaste(); // nothing written is lost
      Object.assign(file, { state: 'failed', error: this.words['refused_' + code] ?? message ?? this.words.refused_failed });
    },
    remove(file) {
      this.aborts.get(file.key)?.abort();
      this.files = this.files.filter((it) => it.key !== file.key);
      if (file.id) this.request('DELETE', '/api/attachments/' + file.id).catch(() => {}); // it goes by itself in time
      if (this.pasted?.file === file.key) this.pasted = null;
      this.keepFiles();
      this.measure();
      this.focus();
    },
    facts(file) {
      if (file.state === 'uploading') return this.say('uploading', { percent: Math.floor(file.share * 100) });
      if (file.state === 'reading') return this.words.reading;
      const tokens = file.tokens === null ? [] : [this.count('tokens', file.tokens)];
      return [bytes(file.size), ...tokens].join(' · ');
    },

    // Dropping, anywhere on the conversation

    listen() {
      this.aborts = new Map();
      this.ending = new AbortController();
      const { signal } = this.ending, page = this.$el.closest('.page') ?? document.body;
      page.addEventListener('dragover', (event) => this.dragged(event), { signal });
      page.addEventListener('dragleave', (event) => page.contains(event.relatedTarget) || (this.over = false), { signal });
      page.addEventListener('drop', (event) => this.dropped(event), { signal });
      addEventListener('storage', (event) => this.follow(event), { signal });
      visualViewport?.addEventListener('resize', makeRoomForKeyboard, { signal });
      // A file that misses would take the place of the page.
      for (const kind of ['dragover', 'drop']) document.addEventListener(kind, refuseFiles, { signal });
    },
    dragged(event) {
      if (event.defaultPrevented || !event.dataTransfer.types.includes('Files')) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = 'copy';
      this.over = true;
    },
    dropped(event) {
      this.over = false;
      if (event.defaultPrevented || !event.dataTransfer.types.includes('Files')) return;
      event.preventDefault();
      this.attach(uploads.filesOf(event.dataTransfer));
    },

    // What the message will take of the context

    measureSoon() {
      clearTimeout(this.timer);
      this.timer = setTimeout(this.measure, MEASURE_AFTER);
    },
    async measure() {
      clearTimeout(this.timer);
      if (!this.model || this.sending) return; // what is being sent is no draft any more
      const at = (this.measured = (this.measured ?? 0) + 1);
      const body = { text: this.draft, attachments: this.ready.map((file) => file.id) };
      const answer = await this.request('POST', `/api/chats/${this.chatId}/measure`, body).catch(() => null);
      if (!answer?.ok) return;
      const use = await answer.json();
      if (at === this.measured) this.$emit('measured', use);
    },

    // Keeping the draft

    keep() {
      store('draft:' + this.draftKey, this.draft);
    },
    keepFiles() {
      store('files:' + this.draftKey, this.ready.map(pick));
    },
    restore() {
      this.draft = localStorage.getItem('draft:' + this.draftKey) ?? '';
      this.files = stored('files:' + this.draftKey).map(shownAgain);
      this.error = '';
      this.pasted = null;
      this.$nextTick(this.grow);
      this.revalidate(this.draftKey);
      this.measureSoon();
    },
    // Ask the app whether it still has the files, and how many tokens they have now.
    async revalidate(key) {
      await Promise.all(this.ready.map(async (file) => {
        const answer = await this.request('GET', '/api/attachments/' + file.id).catch(() => null);
        if (answer?.ok) file.tokens = (await answer.json()).tokens;
        else if (answer?.status === 404) Object.assign(file, { id: '', state: 'failed', error: this.words.gone });
      }));
      if (this.draftKey === key) this.keepFiles();
    },
    // Another tab wrote; where the cursor is, the person is writing here.
    follow({ key, newValue }) {
      const writing = document.hasFocus() && document.activeElement === this.$refs.text;
      if (key === 'draft:' + this.draftKey && !(writing && this.draft) && !this.sending) {
        this.draft = newValue ?? '';
        this.$nextTick(this.grow);
        this.measureSoon();
      }
      if (key === 'files:' + this.draftKey && !this.sending) {
        const others = this.files.filter((file) => file.state !== 'ready');
        this.files = [...stored(key).map(shownAgain), ...others];
        this.measureSoon();
      }
    },

    // Words

    say(name, values) {
      return this.words[name].replace(/\{(\w+)\}/g, (_, value) => values[value]);
    },
    count(name, number) {
      return this.say(number === 1 ? name + '_one' : name + '_other', { n: inWords(number) });
    },
  },
};

function stored(key) {
  try {
    const found = JSON.parse(localStorage.getItem(key) ?? '[]');
    return Array.isArray(found) ? found.filter((file) => /^[0-9a-f]{16}$/.test(file?.id)) : [];
  } catch {
    return [];
  }
}

function store(key, value) {
  try {
    if (value.length) localStorage.setItem(key, typeof value === 'string' ? value : JSON.stringify(value));
    else localStorage.removeItem(key);
  } catch {
    // A draft too large for the browser's storage lives as long as the tab.
  }
}

function pick(file) {
  return Object.fromEntries(KEPT.map((name) => [name, file[name]]));
}

function shownAgain(file) {
  return { tokens: null, note: '', ...file, key: ++lastKey, state: 'ready', share: 1, error: '' };
}

function listed(files) {
  return files.slice(0, 3).map((file) => file.name).join(', ') + (files.length > 3 ? ', …' : '');
}

function inWords(number, digits = 0) {
  return new Intl.NumberFormat(document.documentElement.lang || undefined, { maximumFractionDigits: digits }).format(number);
}

function bytes(size) {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${inWords(size / 1024)} KB` : `${inWords(size / 1024 / 1024, 1)} MB`;
}

function refuseFiles(event) {
  if (event.defaultPrevented || !event.dataTransfer.types.includes('Files')) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = 'none';
}

// Where the on-screen keyboard lies over the page instead of shrinking it, as on iPhones.
function makeRoomForKeyboard() {
  const covered = visualViewport.scale === 1 ? innerHeight - visualViewport.height : 0;
  document.documentElement.style.setProperty('--keyboard', `${covered > 100 ? covered : 0}px`);
}
