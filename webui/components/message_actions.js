// What there is to do with a message, in plain buttons and a menu that is made when it is opened.
const ICONS = {
  copy: 'content_copy',
  edit: 'edit',
  regenerate: 'refresh',
  answer: 'refresh',
  continue: 'resume',
  'send-now': 'arrow_upward',
  remove: 'close',
  'copy-text': 'notes',
  'copy-markdown': 'markdown_copy',
  plain: 'code',
  formatted: 'format_paragraph',
  fork: 'call_split',
  'insert-user': 'add_comment',
  'insert-assistant': 'add_notes',
  delete: 'delete',
  'delete-below': 'delete_sweep',
};
const TESTIDS = { answer: 'regenerate' };

export default {
  template: `
    <div class="message-actions" role="group" :aria-label="words.actions">
      <span v-if="variants" class="variants" role="group">
        <button class="action" type="button" data-testid="variant-prev" :aria-label="words.previous" :title="words.previous"
          :disabled="variants[0] === 1" @click="act('previous')"><i class="material-symbols-outlined" aria-hidden="true">chevron_left</i></button>
        <span class="variant" data-testid="variant">{{ variants[0] }}/{{ variants[1] }}</span>
        <button class="action" type="button" data-testid="variant-next" :aria-label="words.next" :title="words.next"
          :disabled="variants[0] === variants[1]" @click="act('next')"><i class="material-symbols-outlined" aria-hidden="true">chevron_right</i></button>
      </span>
      <button v-for="name in actions" :key="name" class="action" :class="{ done: done === name }" type="button" :data-testid="testid(name)"
        :aria-label="words[name]" :title="words[name]" @click="act(name)"><i class="material-symbols-outlined" aria-hidden="true">{{ icon(name) }}</i></button>
      <span v-if="menu && menu.length" class="more">
        <button ref="more" class="action" type="button" data-testid="message-more" aria-haspopup="menu" :aria-expanded="open"
          :aria-label="words.more" :title="words.more" @click="toggle"><i class="material-symbols-outlined" aria-hidden="true">more_horiz</i></button>
        <div v-if="open" ref="menu" class="action-menu" role="menu" :aria-label="words.actions" @keydown="move" @focusout="leave">
          <button v-for="name in menu" :key="name" class="action-item" :class="{ danger: name.startsWith('delete') }" type="button" role="menuitem"
            :data-testid="testid(name)" @click="choose(name)"><i class="material-symbols-outlined" aria-hidden="true">{{ icon(name) }}</i>{{ words[name] }}</button>
        </div>
      </span>
      <div v-if="numbers" class="stats" :class="{ open: rows }" data-testid="stats">
        <button class="stats-line" type="button" :aria-expanded="Boolean(rows)" :title="words.numbers" @click="act('numbers')">{{ numbers }}</button>
        <dl v-if="rows" class="stats-rows"><template v-for="[name, value] in rows" :key="name"><dt>{{ name }}</dt><dd>{{ value }}</dd></template></dl>
      </div>
    </div>`,
  props: { message: String, actions: Array, menu: Array, variants: Array, numbers: String, rows: Array },
  inject: ['transcript'],
  data: () => ({ open: false, done: '' }),
  computed: {
    words() {
      return this.transcript.words;
    },
  },
  mounted() {
    // A text that was being edited when the page was drawn again, or lost its server.
    if (localStorage.getItem(`edit:${this.transcript.chat}:${this.message}`) !== null) this.act('edit');
  },
  methods: {
    icon: (name) => ICONS[name] ?? 'circle',
    testid: (name) => TESTIDS[name] ?? name,
    act(name) {
      this.transcript.act(this.message, name);
    },
    choose(name) {
      this.close();
      this.act(name);
    },
    async copy(text) {
      this.copied(await copyText(text));
    },
    copied(worked) {
      if (!worked) return;
      this.done = 'copy';
      this.transcript.announce(this.words.copied);
      setTimeout(() => (this.done = ''), 1500);
    },

    // The menu

    toggle() {
      if (this.open) return this.close();
      this.open = true;
      this.$nextTick(() => {
        this.fit(this.$refs.menu);
        this.$refs.menu.firstElementChild.focus({ preventScroll: true });
        this.$refs.menu.scrollIntoView({ block: 'nearest' });
      });
    },
    // Into what is seen of the conversation: above the button where there is no room below, and not over the side.
    fit(menu) {
      const seen = menu.closest('.pane').getBoundingClientRect();
      const button = this.$refs.more.getBoundingClientRect();
      const above = button.bottom + menu.offsetHeight + 8 > seen.bottom && button.top - menu.offsetHeight - 8 > seen.top;
      menu.classList.toggle('above', above);
      const left = Math.max(seen.left + 8, Math.min(button.left, seen.right - menu.offsetWidth - 24));
      menu.style.left = left - button.left + 'px';
    },
    close() {
      if (this.open && this.$refs.menu?.contains(document.activeElement)) this.$refs.more.focus({ preventScroll: true });
      this.open = false;
    },
    leave(event) {
      if (!event.relatedTarget || !this.$el.contains(event.relatedTarget)) this.open = false;
    },
    move(event) {
      const items = [...this.$refs.menu.children];
      const at = items.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
      if (event.key === 'Escape' || event.key === 'Tab') this.close();
      else if (to === undefined) return;
      else items.at(to % items.length).focus();
      if (event.key !== 'Tab') event.preventDefault();
      event.stopPropagation();
    },
  },
};
