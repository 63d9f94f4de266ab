// The scrolling column of messages: stays at its end while the reader is there, and keeps what they read in its place
// whatever comes above or below it. Only a window of the messages is here; it asks for more before an end is reached.
const NEAR = 1200;
const KEEP = 3000;
const TOLD_EVERY = 400;
const JUST_SENT = 10_000;

export default {
  inheritAttrs: false,
  template: `
    <div class="transcript">
      <div ref="pane" class="pane" v-bind="$attrs" tabindex="0" @scroll.passive="look">
        <div ref="column" class="pane-column"><slot></slot></div>
      </div>
      <button v-show="!atEnd" class="to-end" type="button" data-testid="to-end" :aria-label="endName" :title="endName" @click="goToEnd">
        <i class="material-symbols-outlined" aria-hidden="true">arrow_downward</i>
        <span v-if="missed" class="to-end-count" aria-hidden="true">{{ missed }}</span>
      </button>
      <div class="sr-only" aria-live="polite" aria-atomic="true" data-testid="announcement">{{ said }}</div>
    </div>`,
  props: { words: Object, chat: String, older: Boolean, newer: Boolean, target: Object },
  emits: ['act', 'near', 'place', 'end'],
  provide() {
    return { transcript: this };
  },
  data: () => ({ atEnd: true, missed: 0, said: '' }),
  computed: {
    endName() {
      if (!this.missed) return this.words['to-end'];
      return this.words[this.missed === 1 ? 'one-new' : 'many-new'].replace('{n}', this.missed);
    },
  },
  watch: {
    'target.turn': { handler: 'arrive', flush: 'post' },
  },
  mounted() {
    this.observer = new ResizeObserver(this.settle);
    this.observer.observe(this.$refs.column);
    this.observer.observe(this.$refs.pane);
    window.addEventListener('message-sent', this.noteSending);
    this.arrive();
  },
  updated() {
    this.settle();
  },
  unmounted() {
    this.observer.disconnect();
    clearTimeout(this.telling);
    window.removeEventListener('message-sent', this.noteSending);
  },
  methods: {
    noteSending() {
      this.sentAt = Date.now();
    },

    // Where the reader is

    look() {
      this.note();
      this.askForMore();
    },
    note() {
      const { scrollTop } = this.$refs.pane;
      const up = scrollTop < this.lookedAt - 1;
      this.lookedAt = scrollTop;
      // What grew since does not take the reader away from the end, only they themselves do.
      this.atEnd = (!this.newer && this.below() < 48) || (this.atEnd && !up);
      if (this.atEnd) this.missed = 0;
      this.noteAnchor();
      this.telling ??= setTimeout(this.tell, TOLD_EVERY);
    },
    below() {
      const { pane } = this.$refs;
      return pane.scrollHeight - pane.scrollTop - pane.clientHeight;
    },
    // What is at the top of the pane, from the innermost element to the message, each with its distance from the top:
    // an inner one holds its line even while its message changes above it, but may be drawn anew.
    noteAnchor() {
      this.anchor = [];
      const { pane } = this.$refs;
      const message = !this.atEnd && this.topmost();
      if (!message) return;
      const { left, top, width } = pane.getBoundingClientRect();
      let element = document.elementFromPoint(left + width / 2, top + 8);
      if (!message.contains(element)) element = message;
      for (; element !== message.parentElement; element = element.parentElement) {
        this.anchor.push({ element, top: element.getBoundingClientRect().top - top });
      }
      this.anchoredAt = pane.scrollTop;
    },
    topmost() {
      const { top } = this.$refs.pane.getBoundingClientRect();
      const messages = this.$refs.column.querySelectorAll('[data-message-id]');
      return [...messages].find((message) => message.getBoundingClientRect().bottom > top);
    },
    tell() {
      this.telling = undefined;
      const message = this.topmost();
      if (!message) return;
      const offset = message.getBoundingClientRect().top - this.$refs.pane.getBoundingClientRect().top;
      const place = { id: message.dataset.messageId, offset: Math.round(offset), end: this.atEnd };
      const key = place.end ? 'end' : JSON.stringify(place);
      if (key === this.told) return;
      this.told = key;
      this.$emit('place', place);
    },

    // Staying there

    settle() {
      if (this.atEnd) this.jump();
      else this.holdAnchor();
      this.askForMore();
    },
    jump() {
      const { pane } = this.$refs;
      pane.scrollTop = pane.scrollHeight;
      this.lookedAt = pane.scrollTop;
    },
    holdAnchor() {
      const held = this.anchor?.find(({ element }) => element.isConnected);
      if (!held) return;
      const { pane } = this.$refs;
      // The reader may have scrolled on since; or what is left is too short for the place, which is no scrolling.
      const scrolled = pane.scrollTop - this.anchoredAt;
      const wanted = scrolled < 0 && this.below() < 1 ? held.top : held.top - scrolled;
      const moved = held.element.getBoundingClientRect().top - pane.getBoundingClientRect().top - wanted;
      if (Math.abs(moved) >= 1) pane.scrollTop += moved;
      this.lookedAt = pane.scrollTop;
      this.noteAnchor();
    },

    // The window of messages

    askForMore() {
      const { pane } = this.$refs;
      if (this.older && pane.scrollTop < NEAR) this.ask('top');
      if (this.newer && this.below() < NEAR) this.ask('bottom');
    },
    // Once for each state of the window: what is asked for is on its way, or there is nothing.
    ask(edge) {
      const messages = this.$refs.column.querySelectorAll('[data-message-id]');
      const state = `${edge} ${messages[0]?.dataset.messageId} ${messages[messages.length - 1]?.dataset.messageId}`;
      if (this.asked === state) return;
      this.asked = state;
      this.$emit('near', { edge, spare: this.spare(edge) });
    },
    askAgain() {
      this.asked = undefined;
      this.askForMore();
    },
    // How many groups at the other edge are too far away to be of use.
    spare(edge) {
      const { top, bottom, height } = this.$refs.pane.getBoundingClientRect();
      const far = height + KEEP;
      const groups = [...this.$refs.column.querySelectorAll('.message-group')].map((group) => group.getBoundingClientRect());
      return groups.filter((group) => (edge === 'top' ? group.top > bottom + far : group.bottom < top - far)).length;
    },

    // Going somewhere

    arrive() {
      const { id, offset, mark } = this.target ?? {};
      const message = id && this.$refs.column.querySelector(`[data-message-id="${CSS.escape(id)}"]`);
      this.missed = 0;
      this.asked = this.told = undefined;
      if (!message) return this.toEnd();
      this.atEnd = false;
      const { pane } = this.$refs;
      pane.scrollTop += message.getBoundingClientRect().top - pane.getBoundingClientRect().top - offset;
      this.note();
      // Texts may not have their height yet: this is where the message is to be once they have.
      this.anchor = [{ element: message, top: offset }];
      if (mark) this.mark(message);
    },
    mark(message) {
      message.classList.add('found');
      setTimeout(() => message.classList.remove('found'), 2500);
    },
    toEnd() {
      this.atEnd = true;
      this.missed = 0;
      this.anchor = [];
      this.jump();
      this.note();
    },
    goToEnd() {
      if (this.newer) this.$emit('end');
      else this.toEnd();
      this.$refs.pane.focus({ preventScroll: true });
    },

    // What the server calls

    // A message came: who has just sent it from here wants to see it, others are told how many there are.
    came(sent) {
      const isFromHere = Date.now() - this.sentAt < JUST_SENT;
      if (sent && isFromHere) this.goToEndQuietly();
      else if (!this.atEnd) this.missed += 1;
    },
    goToEndQuietly() {
      if (this.newer) this.$emit('end');
      else this.$nextTick(this.toEnd);
    },
    announce(text) {
      this.said = text;
    },

    // What the messages call

    act(id, name, value) {
      this.$emit('act', { id, name, value });
    },
  },
};
