// The model's layers: which part of each linear's weights is -1, 0 and +1.

import { json } from './api.js';
import { byId, h } from './dom.js';
import { bytes, count } from './status.js';

const PARTS = [
  ['minus', '−1'],
  ['zero', '0'],
  ['plus', '+1'],
];

/** Counts once, when it is first seen. */
export class LayersView {
  /** @param {object} app what all views share */
  constructor(app) {
    this.app = app;
    this.isDone = false;
    byId('as-numbers').addEventListener('change', (event) => {
      byId('layers').classList.toggle('numbers', event.target.checked);
    });
  }

  async open() {
    this.describe();
    if (this.isDone) {
      return;
    }
    this.isDone = true;
    try {
      this.show(await json('props/layers'));
    } catch (error) {
      this.isDone = false;
      byId('layers-note').textContent = error.message;
      this.app.failed(error);
    }
  }

  describe() {
    const { props } = this.app;
    const facts = [
      ['Family', props.family],
      ['Parameters', count(props.n_params)],
      ['Context', `${props.default_generation_settings.n_ctx} tokens`],
      ['Weights read for a token', bytes(props.weight_bytes_per_token)],
      [
        'Memory bandwidth',
        props.memory_bytes_per_second ? `${bytes(props.memory_bytes_per_second)}/s` : 'not measured yet',
      ],
      ['Server', props.build_info],
    ];
    byId('facts').replaceChildren(...facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
  }

  show({ ternary, layers }) {
    byId('layers-note').hidden = true;
    byId('stanza').hidden = !ternary;
    if (ternary) {
      const most = Math.max(...PARTS.map(([part]) => ternary[part]));
      byId('stanza').replaceChildren(...PARTS.map(([part, name]) => verse(name, part, ternary[part], most)));
    }
    const names = layers[0]?.linears.map((linear) => linear.name) ?? [];
    const short = (name) => name.replace(/^.*\./, '').replace(/_proj$/, '');
    const head = names.map((name) => h('th', { scope: 'col' }, h('abbr', { title: name }, short(name))));
    const rows = layers.map(({ layer, linears }) =>
      h('tr', {}, h('th', { scope: 'row' }, String(layer)), ...linears.map((linear) => h('td', {}, ...cell(linear)))),
    );
    byId('layers').replaceChildren(
      h('caption', { class: 'hidden' }, 'Shares of −1, 0 and +1 in the weights of each linear of each layer'),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Layer'), ...head)),
      h('tbody', {}, ...rows),
    );
    for (const bar of document.querySelectorAll('[data-share]')) {
      bar.style.width = `${100 * bar.dataset.share}%`;
    }
    byId('as-numbers').parentElement.hidden = !ternary;
  }
}

/** One of the three lines: as long as its share, the longest all the way. */
function verse(name, part, share, most) {
  const line = h('span', { class: `part ${part}`, 'data-share': share / most, 'aria-hidden': 'true' });
  return h(
    'li',
    {},
    h('b', {}, name),
    h('span', { class: 'track' }, line),
    h('span', { class: 'share' }, percent(share)),
  );
}

/** A bar for the eye, numbers for all. */
function cell({ shape, ternary }) {
  const size = shape.join(' × ');
  if (!ternary) {
    return [h('span', { class: 'dense', title: size }, 'dense')];
  }
  const bars = PARTS.map(([part]) => h('span', { class: `part ${part}`, 'data-share': ternary[part] }));
  const text = PARTS.map(([part, name]) => `${name} ${percent(ternary[part])}`);
  const numbers = text.map((line) => h('span', { class: 'number' }, `${line} `));
  return [
    h('span', { class: 'bar', 'aria-hidden': 'true', title: `${size}: ${text.join(', ')}` }, ...bars),
    h('span', { class: 'shares' }, ...numbers),
  ];
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}
