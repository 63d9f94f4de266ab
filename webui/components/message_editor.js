// A message's text while it is changed. It is kept in the browser until the server has it, or the writer gives it up.
export default {
  template: `
    <form class="message-editor" @submit.prevent="save">
      <textarea ref="text" data-testid="message-editor" :aria-label="words.name" v-model="text" rows="1" @input="changed" @keydown="key"></textarea>
      <div v-if="error" class="editor-error" role="alert" data-testid="toast-error">{{ error }}</div>
      <div class="editor-actions">
        <button class="plain-button" type="button" data-testid="cancel-edit" :title="words.cancelKeys" @click="cancel">{{ words.cancel }}</button>
        <button class="plain-button primary" type="submit" data-testid="save-edit" :title="words.saveKeys" :disabled="saving || !text.trim()">{{ words.save }}</button>
      </div>
    </form>`,
  props: { draft: String, content: String, address: String, method: String, body: Object, words: Object },
  emits: ['done'],
  data: () => ({ text: '', error: '', saving: false }),
  mounted() {
    this.text = localStorage.getItem(this.draft) ?? this.content;
    this.keep();
    this.$nextTick(() => {
      this.grow();
      if (!document.activeElement || document.activeElement === document.body || this.isNear()) this.focus();
    });
  },
  methods: {
    // An editor that comes back with an old message takes the cursor from nobody.
    isNear() {
      return this.$el.closest('[data-message-id]')?.contains(document.activeElement) || document.activeElement.closest('.composer-part');
    },
    focus() {
      const { text } = this.$refs;
      text.focus({ preventScroll: true });
      text.setSelectionRange(text.value.length, text.value.length);
      this.$el.scrollIntoView({ block: 'nearest' });
    },
    key(event) {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.save();
      else if (event.key === 'Escape') this.cancel();
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    changed() {
      this.error = '';
      this.keep();
      this.grow();
    },
    keep() {
      try {
        localStorage.setItem(this.draft, this.text);
      } catch {
        // A text too large for the browser's storage lives as long as the tab.
      }
    },
    grow() {
      const { text } = this.$refs;
      text.style.height = 'auto';
      text.style.height = text.scrollHeight + 2 + 'px';
    },
    async save() {
      if (this.saving || !this.text.trim()) return;
      this.saving = true;
      try {
        await this.post();
        localStorage.removeItem(this.draft);
        this.$emit('done');
      } catch (error) {
        this.error = error.message;
      }
      this.saving = false;
    },
    async post() {
      let response;
      try {
        response = await fetch(this.address, {
          method: this.method,
          headers: { 'Content-Type': 'application/json' },
          body: JSON.stringify({ ...this.body, text: this.text }),
        });
      } catch {
        throw new Error(this.words.unreachable);
      }
      if (response.ok) return;
      const answer = await response.json().catch(() => ({}));
      throw new Error(answer.error?.message ?? this.words.refused.replace('{status}', response.status));
    },
    cancel() {
      localStorage.removeItem(this.draft);
      this.$emit('done');
    },
  },
};
