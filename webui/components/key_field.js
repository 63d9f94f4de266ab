// Keys that a command has; a click waits for others.
export default {
  template: `
    <button type="button" class="key-field" :class="{ recording }" :aria-label="label" :aria-pressed="recording"
      @click="recording = true" @keydown="press" @blur="recording = false">{{ recording ? prompt : keys || '–' }}</button>`,
  props: { keys: String, label: String, prompt: String },
  emits: ['record'],
  data: () => ({ recording: false }),
  methods: {
    press(event) {
      if (!this.recording || event.key === 'Tab') return;
      event.preventDefault();
      event.stopPropagation();
      const keys = combination(event);
      if (!keys) return;
      this.recording = false;
      if (keys !== 'escape') this.$emit('record', keys === 'backspace' ? '' : keys);
    },
  },
};
