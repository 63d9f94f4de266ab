// The browser's own slider. It keeps where the person moved it to, whatever else on the page is drawn meanwhile.
export default {
  template: `<input type="range" class="slider" :value="place" :style="{ '--part': part }" @input="place = $event.target.value"
    @change="$emit('change', Number($event.target.value))">`,
  props: { value: Number, revision: Number },
  emits: ['change'],
  computed: {
    part() {
      const { min, max } = this.$attrs;
      return (100 * (this.place - min)) / (max - min) + '%';
    },
  },
  data() {
    return { place: this.value };
  },
  watch: {
    revision() {
      this.place = this.value;
    },
  },
};
