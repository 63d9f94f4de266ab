// The scrolling column of messages: stays at its end while the reader is there, and stays put once they scroll up.
export default {
  template: `
    <div class="pane" @scroll.passive="look" tabindex="-1">
      <div ref="column" class="pane-column"><slot></slot></div>
      <button v-show="!atEnd" class="to-end" type="button" aria-label="Scroll to the end" @click="toEnd">&darr;</button>
    </div>`,
  data: () => ({ atEnd: true }),
  mounted() {
    this.observer = new ResizeObserver(() => this.atEnd && this.jump());
    this.observer.observe(this.$refs.column);
    this.observer.observe(this.$el);
    this.jump();
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    look() {
      this.atEnd = this.$el.scrollHeight - this.$el.scrollTop - this.$el.clientHeight < 48;
    },
    jump() {
      this.$el.scrollTop = this.$el.scrollHeight;
    },
    toEnd() {
      this.atEnd = true;
      this.jump();
    },
  },
};
