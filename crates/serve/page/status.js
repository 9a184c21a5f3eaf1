// What the server is doing, from its metrics.

import { ApiError, text } from './api.js';
import { byId, h, svg } from './dom.js';
import { fraction } from './speed.js';

const EVERY_MS = 1000;
/** Values that the drawing shows. */
const HISTORY = 60;
const [WIDTH, HEIGHT] = [600, 96];

/**
 * The numbers of a Prometheus text: name to the sum over all labels.
 * @param {string} source
 * @returns {Map<string, number>}
 */
export function parse(source) {
  const numbers = new Map();
  for (const line of source.split('\n')) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})? (\S+)/.exec(line);
    const value = Number(found?.[2]);
    if (found && Number.isFinite(value)) {
      numbers.set(found[1], (numbers.get(found[1]) ?? 0) + value);
    }
  }
  return numbers;
}

/** Asks while it is seen. */
export class StatusView {
  /** @param {object} app what all views share */
  constructor(app) {
    this.app = app;
    this.before = null;
    this.rates = [];
    this.timer = 0;
    document.addEventListener('visibilitychange', () => this.isOpen && this.look());
  }

  open() {
    this.isOpen = true;
    this.before = null;
    this.look();
  }

  close() {
    this.isOpen = false;
    clearTimeout(this.timer);
  }

  async look() {
    clearTimeout(this.timer);
    if (!this.isOpen || document.hidden) {
      return;
    }
    try {
      const numbers = parse(await text('metrics'));
      if (!this.isOpen) {
        return;
      }
      this.show(numbers, performance.now());
      byId('status-failure').hidden = true;
    } catch (error) {
      byId('status-failure').hidden = false;
      byId('status-failure').textContent = error instanceof ApiError ? error.message : String(error);
      this.app.failed(error);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  show(numbers, now) {
    const value = (name) => numbers.get(`tercet:${name}`) ?? 0;
    const since = (name) => {
      const before = this.before?.numbers.get(`tercet:${name}`);
      const seconds = (now - this.before?.now) / 1000;
      return before === undefined || seconds <= 0 ? 0 : Math.max(0, value(name) - before) / seconds;
    };
    const generated = since('generation_tokens_total');
    const read = since('prompt_tokens_total');
    const passes = since('passes_total');
    if (this.before) {
      this.rates = [...this.rates, generated].slice(-HISTORY);
    }
    this.before = { numbers, now };
    const { props } = this.app;
    const queries = value('prefix_cache_queries_total');
    const answers = value('time_to_first_token_seconds_count');
    const part = fraction(props, passes);
    const resident = numbers.get('process_resident_memory_bytes');
    put('stat-rate', generated.toFixed(generated > 0 && generated < 10 ? 1 : 0));
    put('stat-running', value('num_requests_running'), `of ${props.total_slots} places`);
    put('stat-waiting', value('num_requests_waiting'), `of ${props.max_waiting}`);
    put('stat-cache', percent(value('kv_cache_usage_perc')), 'held by requests');
    put(
      'stat-prefix',
      queries > 0 ? percent(value('prefix_cache_hits_total') / queries) : '–',
      'of prompt tokens were there already',
    );
    put('stat-prompt', read.toFixed(0), 'tokens a second');
    put(
      'stat-limit',
      part === null ? '–' : part > 1 ? 'cache' : percent(part),
      part > 1 ? 'weights come from the processor’s cache' : 'of this machine’s',
    );
    put('stat-first', answers > 0 ? duration(value('time_to_first_token_seconds_sum') / answers) : '–', 'on average');
    put('stat-memory', resident > 0 ? bytes(resident) : '–', 'of this process');
    put('stat-total', count(value('generation_tokens_total')), 'since the start');
    this.draw();
  }

  /** Tokens a second of the last minute. */
  draw() {
    const most = Math.max(1, ...this.rates);
    const x = (i) => WIDTH - (this.rates.length - 1 - i) * (WIDTH / (HISTORY - 1));
    const y = (rate) => HEIGHT - 2 - (rate / most) * (HEIGHT - 6);
    const points = this.rates.map((rate, i) => `${x(i).toFixed(1)},${y(rate).toFixed(1)}`);
    if (points.length > 1) {
      const area = `M${x(0).toFixed(1)},${HEIGHT} L${points.join(' L')} L${WIDTH},${HEIGHT} Z`;
      byId('trace').replaceChildren(
        svg('path', { class: 'area', d: area }),
        svg('polyline', { class: 'line', points: points.join(' ') }),
      );
    }
    const found = Math.max(0, ...this.rates);
    byId('trace-most').textContent = found > 0 ? `${found.toFixed(0)} tokens/s at most in the last minute` : '';
  }
}

function put(id, value, note) {
  byId(id).replaceChildren(String(value), ...(note ? [' ', h('small', {}, note)] : []));
}

function percent(part) {
  return `${(100 * part).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`;
}

/** `1.4 GB`. */
export function bytes(number) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, number)) / 3)));
  const value = number / 1000 ** power;
  return `${value.toFixed(value < 10 && power > 0 ? 1 : 0)} ${units[power]}`;
}

/** `5.6 M`. */
export function count(number) {
  const units = ['', ' k', ' M', ' G', ' T'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, number)) / 3)));
  const value = number / 1000 ** power;
  return `${value.toFixed(value < 10 && power > 0 ? 1 : 0)}${units[power]}`;
}

function duration(seconds) {
  return seconds < 1 ? `${(1000 * seconds).toFixed(0)} ms` : `${seconds.toFixed(1)} s`;
}
