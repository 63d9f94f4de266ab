// The list of chats: lines of one height, of which the server sends those around what is in sight.
export default {
  template: `
    <div class="chat-list-part">
      <div ref="list" class="chat-list" role="navigation" :aria-label="words.label" data-testid="chat-list"
        @scroll.passive="look" @keydown="key" @contextmenu="context" @dragstart="drag" @dragend="drop"
        @dragover="over" @dragleave="leave" @drop.prevent="drop">
        <div v-if="!total" class="chat-empty">{{ words.empty }}</div>
        <div :style="space(first)"></div>
        <template v-for="line in lines" :key="line.key">
          <div v-if="line.kind === 'heading'" class="chat-group" :data-drop="line.drop || null"><span>{{ line.text }}</span></div>
          <div v-else class="chat-item" :class="classes(line)" :style="{ '--depth': line.depth }" :data-key="line.key"
            :data-testid="line.kind === 'chat' ? 'chat-item' : 'folder'" :data-drop="line.drop || null"
            :draggable="line.kind === 'chat' && editing !== line.key">
            <input v-if="editing === line.key" class="chat-rename" data-testid="rename-field" :aria-label="words.title"
              v-model="title" maxlength="200" @keydown.stop="renameKey" @blur="rename(true)">
            <button v-else-if="line.kind === 'folder'" type="button" class="chat-fold" :aria-expanded="line.open"
              :title="line.text" @click="$emit('fold', line.path)">
              <q-icon :name="line.open ? 'sym_o_folder_open' : 'sym_o_folder'"></q-icon>
              <span class="ellipsis">{{ line.text }}</span><span class="count">{{ line.count }}</span>
            </button>
            <a v-else class="chat-link" :href="'/c/' + line.key" draggable="false" :title="line.text"
              :role="picking ? 'checkbox' : null" :aria-checked="picking ? isPicked(line) : null"
              :aria-current="!picking && line.key === current ? 'page' : null" @click="choose($event, line)">
              <q-icon v-if="picking" :name="isPicked(line) ? 'sym_o_check_box' : 'sym_o_check_box_outline_blank'"></q-icon>
              <q-icon v-else-if="line.pinned" name="sym_o_keep" :aria-label="words.pinned" role="img"></q-icon>
              <span class="ellipsis">{{ line.text }}</span>
            </a>
            <button v-if="editing !== line.key && !picking" type="button" class="row-menu" data-testid="row-menu"
              aria-haspopup="menu" :aria-label="words.actions + ': ' + line.text" @click="open($event.currentTarget, line)">
              <q-icon name="sym_o_more_horiz"></q-icon>
            </button>
          </div>
        </template>
        <div :style="space(total - first - lines.length)"></div>
      </div>
      <div v-if="picking" class="picked-bar" role="toolbar" :aria-label="words.picked" data-testid="picked-bar">
        <span class="picked-count">{{ picked.length }}</span>
        <button v-for="action in pickedActions" :key="action.name" type="button" class="bar-button" :aria-label="action.text"
          :title="action.text" :disabled="!picked.length" @click="act(action.name)"><q-icon :name="action.icon"></q-icon></button>
        <button type="button" class="bar-button" :aria-label="words.done" :title="words.done" @click="stopPicking">
          <q-icon name="sym_o_close"></q-icon></button>
      </div>
      <q-menu v-if="anchor" v-model="isOpen" :target="anchor" no-parent-event anchor="bottom right" self="top right" class="chat-menu"
        @show="menuShown" @hide="closed" @keydown="menuKey">
        <button v-for="action in lineActions" :key="action.name" type="button" role="menuitem" class="menu-item"
          :class="{ danger: action.name === 'delete' }" :data-testid="action.name + '-' + action.kind" @click="act(action.name)">
          <q-icon :name="action.icon"></q-icon><span>{{ action.text }}</span></button>
      </q-menu>
    </div>`,
  props: { lines: Array, first: Number, total: Number, current: String, actions: Array, words: Object },
  emits: ['open', 'act', 'fold', 'rename', 'put', 'window'],
  data: () => ({ isOpen: false, anchor: null, line: null, editing: null, title: '', picking: false, picked: [], dragged: [] }),
  computed: {
    lineActions() {
      return this.line ? this.actions.filter((action) => this.fits(action, this.line)) : [];
    },
    pickedActions() {
      const archived = this.lines.some((line) => line.archived);
      return this.actions.filter((action) => action.many && this.fits(action, { kind: 'chat', archived }));
    },
  },
  watch: {
    lines() {
      this.$nextTick(this.look);
    },
  },
  mounted() {
    this.observer = new ResizeObserver(() => this.look());
    this.observer.observe(this.$refs.list);
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    space(lines) {
      return { height: `calc(var(--row) * ${Math.max(0, lines)})` };
    },
    classes(line) {
      return {
        folder: line.kind === 'folder',
        current: line.key === this.current,
        picked: this.picking && this.isPicked(line),
        'menu-open': this.isOpen && this.line?.key === line.key,
      };
    },
    fits(action, line) {
      if (action.kind !== line.kind) return false;
      return Object.entries(action.when ?? {}).every(([name, value]) => Boolean(line[name]) === value);
    },
    isPicked(line) {
      return this.picked.includes(line.key);
    },

    // Which lines are needed
    look() {
      const list = this.$refs.list;
      const row = parseFloat(getComputedStyle(list).getPropertyValue('--row')) || 38;
      const from = Math.floor(list.scrollTop / row), seen = Math.ceil(list.clientHeight / row);
      const end = this.first + this.lines.length;
      const lacks = (from < this.first + 5 && this.first > 0) || (from + seen > end - 5 && end < this.total);
      if (!seen || !lacks || (this.asked === from && this.askedOf === this.lines)) return;
      this.asked = from;
      this.askedOf = this.lines;
      this.$emit('window', { from, seen });
    },

    // One chat
    choose(event, line) {
      if (event.ctrlKey || event.metaKey) return; // a tab of its own, as with any link
      event.preventDefault();
      if (!event.shiftKey && !this.picking) return this.$emit('open', line.key);
      event.stopPropagation(); // no chat is opened, so the sidebar of a phone stays
      this.pick(line, event.shiftKey);
    },
    open(anchor, line) {
      this.anchor = anchor;
      this.line = line;
      this.$nextTick(() => (this.isOpen = true));
    },
    menuShown() {
      this.menuItems()[0]?.focus();
    },
    menuKey(event) {
      const items = this.menuItems(), at = items.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      items.at(to % items.length)?.focus();
    },
    menuItems: () => [...document.querySelectorAll('.chat-menu [role=menuitem]')],
    closed() {
      if (!this.editing) this.row(this.line?.key)?.querySelector('.chat-link, .chat-fold')?.focus();
    },
    context(event) {
      const row = event.target.closest('[data-key]');
      const line = this.lines.find((line) => line.key === row?.dataset.key);
      if (!line || this.picking || this.editing === line.key) return;
      event.preventDefault();
      this.open(row.querySelector('.row-menu'), line);
    },
    act(name) {
      const keys = this.picking ? this.picked : [this.line.key];
      this.isOpen = false;
      if (name === 'rename') return this.edit(this.line);
      if (name === 'select') return this.pick(this.line);
      this.$emit('act', { name, keys: [...keys] });
      this.stopPicking();
    },
    row(key) {
      return this.$refs.list.querySelector(`[data-key="${CSS.escape(key ?? '')}"]`);
    },

    // Renaming
    edit(line) {
      this.editing = line.key;
      this.title = line.text;
      this.$nextTick(() => this.$refs.list.querySelector('.chat-rename')?.select());
    },
    renameKey(event) {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === 'Enter' || event.key === 'Escape') {
        event.preventDefault();
        const key = this.editing;
        this.rename(event.key === 'Enter');
        this.$nextTick(() => this.row(key)?.querySelector('.chat-link, .chat-fold')?.focus());
      }
    },
    rename(keep) {
      const line = this.lines.find((line) => line.key === this.editing);
      const title = this.title.trim();
      if (keep && line && title && title !== line.text) this.$emit('rename', { key: line.key, title });
      this.editing = null;
    },

    // Many chats
    pick(line, upTo = false) {
      this.picking = true;
      if (upTo && this.lastPicked) {
        const chats = this.lines.filter((line) => line.kind === 'chat').map((line) => line.key);
        const ends = [chats.indexOf(this.lastPicked), chats.indexOf(line.key)].sort((a, b) => a - b);
        if (ends[0] >= 0) this.picked = [...new Set([...this.picked, ...chats.slice(ends[0], ends[1] + 1)])];
      } else if (this.isPicked(line)) this.picked = this.picked.filter((key) => key !== line.key);
      else this.picked = [...this.picked, line.key];
      this.lastPicked = line.key;
    },
    stopPicking() {
      this.picking = false;
      this.picked = [];
      this.lastPicked = null;
    },

    // Keys
    key(event) {
      const row = event.target.closest('.chat-item');
      const line = this.lines.find((line) => line.key === row?.dataset.key);
      if (event.key === 'Escape' && this.picking) {
        event.preventDefault();
        return this.stopPicking();
      }
      if (!line || event.altKey || event.ctrlKey || event.metaKey) return;
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        const links = [...this.$refs.list.querySelectorAll('.chat-link, .chat-fold')];
        links[links.indexOf(row.querySelector('.chat-link, .chat-fold')) + step]?.focus();
      } else if (event.key === 'F2') this.edit(line);
      else if (event.key === 'Delete' && line.kind === 'chat') this.$emit('act', { name: 'delete', keys: [line.key] });
      else return;
      event.preventDefault();
    },

    // Dragging a chat, or all that are picked, onto a folder or a heading
    drag(event) {
      const key = event.target.closest?.('[data-testid=chat-item]')?.dataset.key;
      if (!key) return;
      this.dragged = this.picked.includes(key) ? [...this.picked] : [key];
      event.dataTransfer.effectAllowed = 'move';
      event.dataTransfer.setData('text/plain', this.lines.find((line) => line.key === key)?.text ?? '');
    },
    over(event) {
      const target = event.target.closest?.('[data-drop]');
      this.mark(this.dragged.length ? target : null);
      if (!this.dragged.length || !target) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = 'move';
    },
    leave(event) {
      if (!this.$refs.list.contains(event.relatedTarget)) this.mark(null);
    },
    drop(event) {
      const target = event.type === 'drop' && event.target.closest?.('[data-drop]');
      if (target && this.dragged.length) {
        this.$emit('put', { keys: this.dragged, to: target.dataset.drop });
        this.stopPicking();
      }
      this.dragged = [];
      this.mark(null);
    },
    mark(target) {
      for (const other of this.$refs.list.querySelectorAll('.drop-here')) if (other !== target) other.classList.remove('drop-here');
      target?.classList.add('drop-here');
    },
  },
};
