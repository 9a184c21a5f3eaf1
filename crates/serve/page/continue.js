// A text that the model goes on with: for models that continue and do not converse.

import { events, json } from './api.js';
import { explained } from './chat.js';
import { announce, byId, eachFrame } from './dom.js';
import { CONTINUATION_TOKENS, requestFields } from './settings.js';
import { Meter, showSpeed } from './speed.js';
import { save } from './store.js';

/** Milliseconds between two times that a text is kept while it is typed or comes. */
const SAVED_EVERY_MS = 1000;

/** Shows one text. */
export class ContinueView {
  /** @param {object} app what all views share */
  constructor(app) {
    this.app = app;
    this.talk = null;
    this.controller = null;
    this.saving = 0;
    this.dropped = null;
    this.paper = byId('paper');
    this.mirror = byId('mirror');
    this.paper.addEventListener('input', () => this.typed());
    this.paper.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !event.isComposing) {
        event.preventDefault();
        this.go();
      }
    });
    byId('go').addEventListener('click', () => this.go());
    byId('go-stop').addEventListener('click', () => this.stop());
    byId('undo').addEventListener('click', () => this.undo());
    byId('redo').addEventListener('click', () => {
      this.undo();
      this.go();
    });
  }

  /**
   * Shows it; where the model just goes on with it, that one is shown.
   * @param {import('./store.js').Talk} talk
   */
  open(talk) {
    if (this.isRunning(talk.id)) {
      return this.talk;
    }
    this.stop();
    if (this.saving) {
      this.keep(this.talk);
    }
    this.talk = talk;
    this.draw();
    this.note('');
    showSpeed(this.app.props, null);
    return talk;
  }

  /** It is deleted, so nothing more of it is kept. */
  drop(id) {
    if (this.talk?.id === id) {
      this.dropped = id;
      clearTimeout(this.saving);
      this.saving = 0;
      this.stop();
    }
  }

  /** The text that the model goes on with is not to be read anew from storage. */
  isRunning(id) {
    return this.controller !== null && this.talk?.id === id;
  }

  stop() {
    this.controller?.abort();
  }

  /** What is typed is the writer's own: the model's part before it can no longer be taken back. */
  typed() {
    this.talk.text = this.paper.value;
    this.talk.marks = [];
    this.draw();
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.keep(this.talk), SAVED_EVERY_MS / 2);
  }

  undo() {
    const mark = this.talk.marks.pop();
    if (mark !== undefined && !this.controller) {
      this.talk.text = this.talk.text.slice(0, mark);
      this.keep(this.talk);
      this.draw();
      this.note('');
    }
  }

  async go() {
    if (this.controller) {
      return;
    }
    const { talk } = this;
    const start = talk.text.length;
    const controller = new AbortController();
    const meter = new Meter((speed) => this.app.isSeen(talk) && showSpeed(this.app.props, speed));
    this.controller = controller;
    talk.marks.push(start);
    this.draw();
    this.note('');
    const draw = eachFrame(() => this.talk === talk && this.draw());
    let [timings, end, failure, saved] = [null, null, '', performance.now()];
    let read = '';
    try {
      const { body, left } = await this.request(talk, controller.signal);
      read = left > 0 ? `The model read the last ${left} tokens of the text.` : '';
      for await (const event of events('v1/completions', body, controller.signal)) {
        const choice = event.choices[0];
        if (choice?.text) {
          talk.text += choice.text;
          meter.token();
          draw();
        }
        end = choice?.finish_reason ?? end;
        timings = event.timings ?? timings;
        if (performance.now() - saved > SAVED_EVERY_MS) {
          saved = performance.now();
          this.keep(talk);
        }
      }
    } catch (error) {
      failure = error.name === 'AbortError' ? '' : explained(error);
      this.app.failed(error);
    }
    this.controller = null;
    if (talk.text.length === start) {
      talk.marks.pop();
    }
    this.keep(talk);
    if (meter.tokens > 0) {
      meter.end(timings);
    }
    this.draw();
    if (this.talk === talk) {
      const ends = end === 'stop' ? 'The text has come to its end.' : '';
      this.note(failure || [ends, read].filter(Boolean).join(' '), Boolean(failure));
    }
    announce(failure || `Continued. ${talk.text.slice(start)}`);
    this.app.answered();
  }

  /** A text longer than the model can read is continued from its last part. */
  async request(talk, signal) {
    const fields = requestFields(talk.settings);
    const context = this.app.props.default_generation_settings.n_ctx;
    const most = Math.min(fields.max_tokens ?? CONTINUATION_TOKENS, Math.max(1, context >> 1));
    const { count, tokens } = await json('tokenize', { body: { prompt: talk.text }, signal });
    const body = { ...fields, max_tokens: most, prompt: talk.text };
    if (count + most <= context) {
      return { body, left: 0 };
    }
    const left = context - most;
    return { body: { ...body, prompt: tokens.slice(count - left) }, left };
  }

  keep(talk) {
    clearTimeout(this.saving);
    this.saving = 0;
    if (talk.id !== this.dropped) {
      talk.updated = Date.now();
      save(talk);
      this.app.listChanged();
    }
  }

  draw() {
    const { text, marks } = this.talk;
    const isRunning = this.controller !== null;
    if (this.paper.value !== text) {
      this.paper.value = text;
    }
    const mark = marks.at(-1) ?? text.length;
    byId('mirror-text').textContent = text.slice(0, mark);
    byId('mirror-mark').textContent = text.slice(mark);
    this.paper.readOnly = isRunning;
    this.paper.setAttribute('aria-busy', String(isRunning));
    const hadFocus = [byId('go'), byId('go-stop'), byId('redo'), byId('undo')].includes(document.activeElement);
    byId('go').hidden = isRunning;
    byId('go-stop').hidden = !isRunning;
    byId('undo').hidden = isRunning || marks.length === 0;
    byId('redo').hidden = isRunning || marks.length === 0;
    if (hadFocus && document.activeElement.hidden) {
      byId(isRunning ? 'go-stop' : 'go').focus();
    }
    const room = document.documentElement;
    if (isRunning && this.app.isSeen(this.talk) && room.scrollHeight - scrollY - innerHeight < 160) {
      scrollTo({ top: room.scrollHeight });
    }
  }

  note(text, isFailure = false) {
    byId('paper-note').textContent = text;
    byId('paper-note').classList.toggle('failure', isFailure);
  }
}
