// One field that finds commands, chats and models. It opens without the server, so that no letter is lost on the way.
export default {
  template: `
    <dialog ref="dialog" class="palette" data-testid="palette" :aria-label="label" @click="outside" @close="closed">
      <div class="palette-body">
        <input ref="field" type="text" class="palette-field" data-testid="palette-field" role="combobox" autocomplete="off"
          spellcheck="false" aria-autocomplete="list" aria-expanded="true" :aria-controls="listId" :aria-label="label"
          :aria-activedescendant="selected ? optionId(selected) : null" :placeholder="placeholder" v-model="text"
          @input="find" @keydown="press">
        <div ref="list" class="palette-list" role="listbox" :id="listId" :aria-label="label" tabindex="-1">
          <div v-for="group in groups" :key="group.name" role="group" :aria-label="group.name">
            <div class="palette-group" aria-hidden="true">{{ group.name }}</div>
            <div v-for="hit in group.hits" :key="hit.id" class="palette-hit" role="option" :id="optionId(hit.id)"
              :aria-selected="hit.id === selected" :data-kind="hit.kind" @click="choose(hit.id)">
              <q-icon :name="hit.icon"></q-icon>
              <span class="palette-title">{{ hit.title }}</span>
              <span v-if="hit.detail" class="palette-detail">{{ hit.detail }}</span>
              <kbd v-if="hit.keys">{{ hit.keys }}</kbd>
            </div>
          </div>
        </div>
        <div v-if="!hits.length" class="palette-nothing">{{ searching ? '' : nothing }}</div>
        <div class="sr-only" role="status">{{ searching || hits.length ? '' : nothing }}</div>
      </div>
    </dialog>`,
  props: { hits: Array, found: String, label: String, placeholder: String, nothing: String },
  emits: ['find', 'choose'],
  data: () => ({ text: '', selected: null, waiting: false, listId: 'palette-list' }),
  computed: {
    searching() {
      return this.text !== this.found;
    },
    groups() {
      const groups = [];
      for (const hit of this.hits) {
        if (groups.at(-1)?.name !== hit.group) groups.push({ name: hit.group, hits: [] });
        groups.at(-1).hits.push(hit);
      }
      return groups;
    },
  },
  watch: {
    found() {
      this.select(this.hits[0]?.id);
      if (this.waiting && !this.searching) this.choose(this.selected);
    },
    hits() {
      if (!this.hits.some((hit) => hit.id === this.selected)) this.select(this.hits[0]?.id);
    },
  },
  mounted() {
    document.addEventListener('page-command', this.command);
  },
  unmounted() {
    document.removeEventListener('page-command', this.command);
  },
  methods: {
    command(event) {
      if (event.detail !== 'palette') return;
      event.preventDefault();
      this.open();
    },
    open() {
      if (this.$refs.dialog.open) return;
      this.text = '';
      this.$refs.dialog.showModal();
      this.$refs.field.focus();
      this.$emit('find', '');
    },
    close() {
      this.$refs.dialog.close();
    },
    closed() {
      clearTimeout(this.timer);
      this.waiting = false;
    },
    find() {
      clearTimeout(this.timer);
      this.waiting = false;
      this.timer = setTimeout(() => this.$emit('find', this.text), 40);
    },
    press(event) {
      if (event.isComposing || event.keyCode === 229) return;
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
      if (event.key in steps) this.move(steps[event.key]);
      else if (event.key === 'Enter') this.choose(this.selected);
      else if (event.key === 'Tab') this.move(event.shiftKey ? -1 : 1);
      else if (commandOf(event) === 'palette') this.close();
      else return;
      event.preventDefault();
    },
    // One step past an end goes round, a page stops there.
    move(by) {
      const count = this.hits.length, place = this.hits.findIndex((hit) => hit.id === this.selected);
      if (!count) return;
      const to = Math.abs(by) === 1 ? (place + by + count) % count : Math.min(count - 1, Math.max(0, place + by));
      this.select(this.hits[to].id);
    },
    select(id) {
      this.selected = id ?? null;
      this.$nextTick(() => {
        const option = id && document.getElementById(this.optionId(id));
        if (option && id === this.hits[0].id) this.$refs.list.scrollTop = 0;
        else option?.scrollIntoView({ block: 'nearest' });
      });
    },
    // What is listed may belong to a text from before the last letters; those are found first.
    choose(id) {
      this.waiting = this.searching;
      if (!id || this.searching) return;
      this.close();
      this.$emit('choose', id);
    },
    outside(event) {
      if (event.target === this.$refs.dialog) this.close();
    },
    optionId(id) {
      return 'hit-' + id;
    },
  },
};
