// How fast a text comes, and what part of this machine's limit that is.

import { byId } from './dom.js';

/** Milliseconds that the live number looks back. */
const WINDOW_MS = 2000;
/** Milliseconds that a stream lasts before its speed means something. */
const LEAST_MS = 50;
/** Milliseconds between two changes of what is shown. */
const SHOWN_EVERY_MS = 200;

/** Counts the tokens of one stream. A chunk is a token, but for those that only together are a character. */
export class Meter {
  /**
   * @param {(speed: {tokens: number, perSecond: number}) => void} show
   */
  constructor(show) {
    this.show = show;
    this.tokens = 0;
    this.times = [];
    this.began = 0;
    this.shown = 0;
  }

  /** A token has come. */
  token() {
    const now = performance.now();
    this.began = this.tokens > 0 ? this.began : now;
    this.tokens += 1;
    this.times.push(now);
    if (now - this.shown >= SHOWN_EVERY_MS && this.tokens > 2) {
      this.shown = now;
      this.show({ tokens: this.tokens, perSecond: this.perSecond(now) });
    }
  }

  /** Tokens a second, lately. A network may bring many at one time, and then none for a while. */
  perSecond(now = performance.now()) {
    const start = Math.max(this.began, now - WINDOW_MS);
    this.times = this.times.filter((time) => time >= start);
    // What was there when the clock began took none of its time.
    const tokens = start === this.began ? this.times.filter((time) => time > start).length : this.times.length;
    return now - start >= LEAST_MS ? (1000 * tokens) / (now - start) : 0;
  }

  /**
   * What it came to: as the server measured it or, where it was stopped, as it was seen here.
   * @param {object|null} timings
   */
  end(timings) {
    const speed = timings
      ? { tokens: timings.predicted_n, perSecond: timings.predicted_per_second }
      : { tokens: this.tokens, perSecond: this.perSecond() };
    this.show(speed);
    return speed;
  }
}

/** The part of the memory's bandwidth that one text uses, or null where that is not known. */
export function fraction(props, perSecond) {
  const ceiling = props?.memory_bytes_per_second;
  return ceiling > 0 ? (perSecond * props.weight_bytes_per_token) / ceiling : null;
}

/** `312 tokens/s`. */
export function rate(perSecond) {
  return `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} tokens/s`;
}

/**
 * `41 % of memory bandwidth`, of what this machine has at best; a small model may be read from the processor's cache,
 * which is faster.
 */
export function ofLimit(props, perSecond) {
  const part = fraction(props, perSecond);
  if (part === null) {
    return '';
  }
  const percent = (100 * part).toFixed(part < 0.1 ? 1 : 0);
  return part > 1 ? 'read from the processor’s cache' : `${percent} % of memory bandwidth`;
}

/**
 * Shows the speed of what is being written.
 * @param {object} props
 * @param {{tokens: number, perSecond: number}|null} speed
 */
export function showSpeed(props, speed) {
  const part = speed ? fraction(props, speed.perSecond) : null;
  byId('speed').hidden = !speed || speed.perSecond <= 0;
  byId('speed-rate').textContent = speed ? rate(speed.perSecond) : '';
  byId('speed-limit').textContent = speed ? ofLimit(props, speed.perSecond) : '';
  byId('speed-bar').hidden = part === null;
  byId('speed-part').style.width = `${Math.min(100, 100 * (part ?? 0))}%`;
}
