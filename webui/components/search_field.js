// The field that finds chats and messages, and what was found below it. Nothing in it is HTML: hits are pieces of text.
export default {
  template: `
    <div class="chat-search" :class="{ active }" role="search">
      <div class="search-line">
        <q-icon name="sym_o_search"></q-icon>
        <input ref="field" type="text" class="search-input" data-testid="search" role="combobox" autocomplete="off"
          spellcheck="false" aria-autocomplete="list" :aria-expanded="active" :aria-controls="active ? listId : null"
          :aria-activedescendant="selected === null ? null : optionId(selected)" :aria-label="words.label"
          :placeholder="words.label" v-model="text" @input="changed" @keydown="key">
        <button v-if="text" type="button" class="search-clear" :aria-label="words.clear" @click="clear">
          <q-icon name="sym_o_close"></q-icon></button>
      </div>
      <div v-if="active" ref="results" class="search-results">
        <div v-if="note" class="search-note">{{ note }}</div>
        <div role="listbox" :id="listId" :aria-label="words.label">
          <div v-for="(hit, index) in hits" :key="hit.key" class="search-hit" :class="{ more: !hit.title }" role="option"
            :id="optionId(index)" :aria-selected="index === selected" data-testid="search-hit" @click="choose(hit)"
            @mousedown.prevent>
            <div v-if="hit.title" class="search-title">
              <span class="ellipsis"><template v-for="[text, found] in hit.title"><mark v-if="found">{{ text }}</mark>
                <template v-else>{{ text }}</template></template></span>
              <span class="search-date">{{ hit.date }}</span>
            </div>
            <div v-if="hit.snippet.length" class="search-snippet"><template v-for="[text, found] in hit.snippet"
              ><mark v-if="found">{{ text }}</mark><template v-else>{{ text }}</template></template></div>
            <div v-if="hit.rest" class="search-rest">{{ hit.rest }}</div>
          </div>
        </div>
        <button v-if="more && shown" type="button" class="search-more" @click="$emit('more')">{{ more }}</button>
        <div v-if="shown && !hits.length" class="search-nothing">{{ words.nothing }}<div class="search-filters">
          <button v-for="filter in filters" :key="filter" type="button" @click="add(filter)">{{ filter }}</button></div></div>
      </div>
      <div class="sr-only" role="status">{{ active && shown ? summary : '' }}</div>
    </div>`,
  props: { hits: Array, found: String, summary: String, more: String, note: String, words: Object, wait: Number },
  emits: ['find', 'more', 'choose'],
  data: () => ({ text: '', selected: null, filters: ['is:pinned', 'is:archived', 'folder:', 'model:'] }),
  computed: {
    active() {
      return Boolean(this.text.trim());
    },
    shown() {
      return this.found === this.text;
    },
    listId() {
      return 'search-results';
    },
  },
  watch: {
    found() {
      this.select(null);
      if (this.waiting && this.shown) this.chooseFirst();
    },
  },
  methods: {
    optionId: (index) => `search-hit-${index}`,
    changed() {
      clearTimeout(this.timer);
      this.waiting = false;
      this.timer = setTimeout(() => this.$emit('find', this.text), this.wait);
    },
    key(event) {
      if (event.isComposing || event.keyCode === 229) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && this.hits.length) {
        const last = this.hits.length - 1, from = this.selected ?? (step > 0 ? -1 : 0);
        this.select(Math.min(last, Math.max(0, from + step)));
      } else if (event.key === 'Enter' && this.active) this.enter();
      else if (event.key === 'Escape' && this.text) this.clear();
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    enter() {
      if (this.selected !== null && this.shown) return this.choose(this.hits[this.selected]);
      if (this.shown) return this.chooseFirst();
      this.waiting = true; // what was typed is not found yet
      clearTimeout(this.timer);
      this.$emit('find', this.text);
    },
    chooseFirst() {
      this.waiting = false;
      if (this.hits.length) this.choose(this.hits[0]);
    },
    choose(hit) {
      this.select(this.hits.indexOf(hit));
      if (innerWidth < 900) emitEvent('command', 'hide-sidebar');
      this.$emit('choose', { chat: hit.chat, message: hit.message });
    },
    select(index) {
      this.selected = index;
      this.$nextTick(() => index !== null && document.getElementById(this.optionId(index))?.scrollIntoView({ block: 'nearest' }));
    },
    add(filter) {
      this.setText(filter);
    },
    clear() {
      this.setText('');
    },
    setText(text) {
      this.text = text;
      this.changed();
      this.focus();
    },
    focus() {
      this.$refs.field.focus();
    },
  },
};
