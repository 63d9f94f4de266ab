// Where a message is written. The draft lives in the browser; it is given up only when the server has the message on disk.
export default {
  template: `
    <div @focus="focus">
      <div v-if="error" class="composer-error" role="alert" data-testid="toast-error">{{ error }}</div>
      <div class="composer">
        <textarea ref="text" rows="1" data-testid="composer" aria-label="Message" :placeholder="placeholder"
          v-model="draft" @input="changed" @page-command="command"></textarea>
        <button v-if="running" type="button" class="composer-button stop" data-testid="stop" aria-label="Stop (Esc)"
          title="Stop (Esc)" @click="$emit('stop')">
          <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true"><rect width="14" height="14" rx="3" fill="currentColor"/></svg>
        </button>
        <button v-else type="button" class="composer-button" data-testid="send" aria-label="Send (Enter)"
          title="Send (Enter)" :disabled="sending || !draft.trim()" @click="send">
          <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true"><path d="M9 15V3M3.5 8.5 9 3l5.5 5.5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>
        </button>
      </div>
    </div>`,
  props: { chatId: String, draftKey: String, running: Boolean, placeholder: String },
  emits: ['stop'],
  data: () => ({ draft: '', error: '', sending: false }),
  watch: {
    draftKey() {
      this.restore();
    },
  },
  mounted() {
    this.restore();
    if (matchMedia('(hover: hover)').matches) this.focus();
  },
  methods: {
    command(event) {
      if (event.detail !== 'send') return;
      event.preventDefault();
      this.send();
    },
    changed() {
      this.error = '';
      this.keep();
      this.grow();
    },
    async send() {
      const text = this.draft, key = this.draftKey;
      if (this.sending || this.running || !text.trim()) return;
      this.sending = true;
      try {
        await this.post(text);
        if (this.draft === text) this.draft = '';
        if (this.draftKey === key) this.keep();
        localStorage.removeItem('draft:' + key);
        this.error = '';
      } catch (error) {
        this.error = error.message;
      }
      this.sending = false;
      this.$nextTick(this.grow);
    },
    async post(text) {
      let response;
      try {
        response = await fetch(`/api/chats/${this.chatId}/messages`, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ text }),
        });
      } catch {
        throw new Error('The app cannot be reached. Your message is kept here; send it again when the app is back.');
      }
      if (response.ok) return;
      const body = await response.json().catch(() => ({}));
      throw new Error(body.error?.message ?? `The app answered with status ${response.status}. Try again.`);
    },
    keep() {
      try {
        if (this.draft) localStorage.setItem('draft:' + this.draftKey, this.draft);
        else localStorage.removeItem('draft:' + this.draftKey);
      } catch {
        // A draft too large for the browser's storage lives as long as the tab.
      }
    },
    restore() {
      this.draft = localStorage.getItem('draft:' + this.draftKey) ?? '';
      this.error = '';
      this.$nextTick(this.grow);
    },
    grow() {
      const text = this.$refs.text;
      text.style.height = 'auto';
      text.style.height = text.scrollHeight + 'px';
    },
    async copy(text) {
      const button = document.activeElement;
      if (!(await copyText(text))) return;
      button?.classList.add('done');
      setTimeout(() => button?.classList.remove('done'), 1500);
    },
    focus() {
      this.$refs.text.focus();
    },
    setText(text) {
      this.draft = text;
      this.changed();
      this.$nextTick(() => (this.grow(), this.focus()));
    },
  },
};
