// How answers are made: the fields of the dialog, and of a request.

import { byId, h } from './dom.js';

/** The fields of a request: name, what it is called and does, and which numbers it takes. */
const FIELDS = [
  [
    'temperature',
    'Temperature',
    'Higher is more surprising; 0 takes the likeliest token',
    { min: 0, max: 2, step: 0.05 },
  ],
  [
    'top_p',
    'Top p',
    'Choose among the likeliest tokens that together have this probability',
    { min: 0, max: 1, step: 0.01 },
  ],
  ['top_k', 'Top k', 'Choose among so many of the likeliest tokens; 0 for all', { min: 0, max: 1_000_000, step: 1 }],
  ['min_p', 'Min p', 'Leave out tokens less likely than this share of the likeliest', { min: 0, max: 1, step: 0.01 }],
  [
    'repetition_penalty',
    'Repetition penalty',
    'Makes tokens less likely that came before; 1 is off',
    { min: 0.01, max: 100, step: 0.01 },
  ],
  [
    'frequency_penalty',
    'Frequency penalty',
    'Subtracted for each time a token came; 0 is off',
    { min: -2, max: 2, step: 0.1 },
  ],
  ['presence_penalty', 'Presence penalty', 'Subtracted once a token came; 0 is off', { min: -2, max: 2, step: 0.1 }],
  ['max_tokens', 'Most tokens', 'Of one answer', { min: 1, max: 1_000_000, step: 1 }],
  ['seed', 'Seed', 'The same seed gives the same answer', { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 }],
];

/** Tokens of a continuation where nobody says how many. */
export const CONTINUATION_TOKENS = 128;

/**
 * The fields of a request that somebody has set, checked; a stored one may hold anything.
 * @param {Record<string, unknown>} settings
 */
export function requestFields(settings) {
  const fields = {};
  for (const [name, , , { min, max, step }] of FIELDS) {
    const value = settings[name];
    if (typeof value === 'number' && value >= min && value <= max) {
      fields[name] = step === 1 ? Math.round(value) : value;
    }
  }
  if (typeof settings.stop === 'string' && settings.stop) {
    fields.stop = settings.stop
      .split('\n')
      .filter((line) => line !== '')
      .slice(0, 16);
  }
  return fields;
}

/** What the model is told first. */
export function systemPrompt(settings) {
  return typeof settings.system === 'string' ? settings.system.trim() : '';
}

/**
 * Opens the dialog for one conversation or text.
 * @param {import('./store.js').Talk} talk
 * @param {object} props what the server is
 * @param {() => void} changed
 */
export function openSettings(talk, props, changed) {
  const dialog = byId('settings');
  const { settings } = talk;
  const isChat = talk.kind === 'chat';
  byId('settings-system').hidden = !isChat;
  area('system', settings, changed);
  area('stop', settings, changed);
  const defaults = { ...props.default_generation_settings.params };
  if (!isChat) {
    defaults.max_tokens = CONTINUATION_TOKENS;
  }
  byId('settings-numbers').replaceChildren(
    ...FIELDS.map(([name, label, hint, range]) => {
      const input = h('input', { id: `set-${name}`, type: 'number', 'aria-describedby': `hint-${name}`, ...range });
      input.placeholder = String(rounded(defaults[name]) ?? (name === 'seed' ? 'random' : 'no limit'));
      input.value = typeof settings[name] === 'number' ? settings[name] : '';
      input.addEventListener('input', () => {
        const isSet = input.value !== '' && input.validity.valid;
        settings[name] = isSet ? input.valueAsNumber : undefined;
        changed();
      });
      return h(
        'div',
        { class: 'field' },
        h('label', { for: input.id }, label),
        input,
        h('small', { id: `hint-${name}` }, hint),
      );
    }),
  );
  byId('settings-reset').onclick = () => {
    for (const [name] of FIELDS) {
      settings[name] = undefined;
    }
    settings.stop = undefined;
    changed();
    openSettings(talk, props, changed);
  };
  if (!dialog.open) {
    dialog.showModal();
  }
}

function area(name, settings, changed) {
  const input = byId(`set-${name}`);
  input.value = typeof settings[name] === 'string' ? settings[name] : '';
  input.oninput = () => {
    settings[name] = input.value || undefined;
    changed();
  };
}

/** An f32 as people write it. */
function rounded(value) {
  return typeof value === 'number' ? Number(value.toFixed(4)) : undefined;
}
