// Files on their way to an import. They go by plain HTTP, piece by piece, and never through the page's own connection.
export default {
  template: `
    <div class="import-file" :class="{ over }" data-testid="import-drop"
      @dragenter.prevent="over = true" @dragover.prevent="over = true" @dragleave="over = false" @drop.prevent="drop">
      <div v-if="!busy">
        <p class="import-hint">{{ words.hint }}</p>
        <label class="import-choose">
          <input ref="input" type="file" multiple accept=".json,.zip,application/json,application/zip"
            data-testid="import-input" @change="choose" />
          <span>{{ words.choose }}</span>
        </label>
        <p class="import-note">{{ words.kinds }}</p>
      </div>
      <div v-else role="status">
        <p class="import-hint">{{ share < 1 ? words.sending : words.reading }} {{ current }}</p>
        <progress :value="share < 1 ? share : undefined" max="1" :aria-label="words.sending"></progress>
        <button type="button" class="import-stop" @click="stop">{{ words.cancel }}</button>
      </div>
      <ul v-if="problems.length" class="import-problems" role="alert" data-testid="import-problem">
        <li v-for="problem in problems">{{ problem }}</li>
      </ul>
    </div>`,
  props: { words: Object, limit: Number },
  emits: ['staged'],
  data: () => ({ over: false, busy: false, share: 0, current: '', problems: [] }),
  beforeUnmount() {
    this.stop();
  },
  methods: {
    choose(event) {
      const files = [...event.target.files];
      event.target.value = ''; // so that the same file can be chosen again
      this.send(files);
    },
    drop(event) {
      this.over = false;
      if (!this.busy) this.send([...event.dataTransfer.files]);
    },
    async send(files) {
      if (!files.length) return;
      this.busy = true;
      this.problems = [];
      this.stopped = false;
      let token = '';
      for (const file of files) {
        if (this.stopped) break;
        this.current = file.name;
        try {
          if (file.size > this.limit) throw new Error(`${file.name}: ${this.words.large}`);
          token = (await this.post(file, token)).id;
        } catch (error) {
          if (!this.stopped) this.problems.push(error.message);
        }
      }
      this.busy = false;
      if (token && !this.stopped) this.$emit('staged', { id: token, problems: this.problems });
    },
    post(file, token) {
      return new Promise((resolve, reject) => {
        const request = (this.request = new XMLHttpRequest()); // fetch tells no progress
        const to = token ? '&to=' + encodeURIComponent(token) : '';
        request.open('POST', '/api/chats/import?name=' + encodeURIComponent(file.name) + to);
        request.setRequestHeader('Content-Type', 'application/octet-stream');
        request.responseType = 'json';
        this.share = 0;
        request.upload.onprogress = (event) => (this.share = event.loaded / (event.total || 1));
        request.upload.onload = () => (this.share = 1);
        request.onload = () =>
          request.status === 200
            ? resolve(request.response)
            : reject(new Error(request.response?.error?.message ?? `${file.name}: ${this.words.failed}`));
        request.onerror = () => reject(new Error(`${file.name}: ${this.words.unreachable}`));
        request.onabort = () => reject(new Error(''));
        request.send(file);
      });
    },
    stop() {
      this.stopped = true;
      this.request?.abort();
    },
  },
};
