// The conversation: messages, answers as they come, stopping, editing, asking again.

import { ApiError, events } from './api.js';
import { announce, byId, copy, eachFrame, h, isPlainKey, wordButton } from './dom.js';
import { show } from './markdown.js';
import { requestFields, systemPrompt } from './settings.js';
import { Meter, ofLimit, rate, showSpeed } from './speed.js';
import { save } from './store.js';

/** Milliseconds between two times that an answer is kept while it comes. */
const SAVED_EVERY_MS = 1000;
/** Pixels from the end of the page within which it follows the answer. */
const NEAR_END_PX = 80;

/** Shows one conversation; answers of others go on meanwhile. */
export class ChatView {
  /** @param {object} app what all views share */
  constructor(app) {
    this.app = app;
    this.talk = null;
    /** Answers that come: by the id of their conversation. */
    this.running = new Map();
    this.messages = byId('messages');
    this.input = byId('prompt');
    byId('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    this.input.addEventListener('keydown', (event) => {
      if (isPlainKey(event, 'Enter') && !event.shiftKey) {
        event.preventDefault();
        this.submit();
      }
    });
    byId('stop').addEventListener('click', () => this.stop());
  }

  /**
   * Shows it; where an answer to it comes, that one is shown.
   * @param {import('./store.js').Talk} talk
   */
  open(talk) {
    this.talk = this.running.get(talk.id)?.talk ?? talk;
    this.render();
    showSpeed(this.app.props, null);
    scrollTo({ top: document.documentElement.scrollHeight });
    return this.talk;
  }

  /** The conversation that comes in answers, if one does, is not to be read anew from storage. */
  isRunning(id) {
    return this.running.has(id);
  }

  stop() {
    this.running.get(this.talk?.id)?.controller.abort();
  }

  /** It is deleted, so nothing more of it is kept. */
  drop(id) {
    const running = this.running.get(id);
    if (running) {
      running.isDropped = true;
      running.controller.abort();
    }
  }

  submit() {
    const content = this.input.value.trim();
    if (!content || this.running.has(this.talk.id)) {
      return;
    }
    this.input.value = '';
    this.ask([...this.talk.messages, { role: 'user', content }]);
  }

  /** Asks for the answer to these messages, which take the place of those there are. */
  ask(messages) {
    const { talk } = this;
    const answer = { role: 'assistant', content: '' };
    talk.messages = [...messages, answer];
    this.answer(talk, messages, answer);
    this.render();
    scrollTo({ top: document.documentElement.scrollHeight });
  }

  async answer(talk, messages, answer) {
    const controller = new AbortController();
    const meter = new Meter((speed) => this.app.isSeen(talk) && showSpeed(this.app.props, speed));
    this.running.set(talk.id, { talk, controller });
    this.keep(talk);
    const system = systemPrompt(talk.settings);
    const said = messages.map(({ role, content }) => ({ role, content }));
    const body = {
      ...requestFields(talk.settings),
      messages: system ? [{ role: 'system', content: system }, ...said] : said,
    };
    const draw = eachFrame(() => this.drawAnswer(talk, answer));
    let timings = null;
    let saved = performance.now();
    try {
      for await (const event of events('v1/chat/completions', body, controller.signal)) {
        const choice = event.choices[0];
        if (choice?.delta.content) {
          answer.content += choice.delta.content;
          meter.token();
          draw();
        }
        answer.end = choice?.finish_reason ?? answer.end;
        timings = event.timings ?? timings;
        if (performance.now() - saved > SAVED_EVERY_MS) {
          saved = performance.now();
          this.keep(talk);
        }
      }
    } catch (error) {
      answer.end = error.name === 'AbortError' ? 'stopped' : 'error';
      answer.error = answer.end === 'error' ? explained(error) : undefined;
      this.app.failed(error);
    }
    if (meter.tokens > 0) {
      answer.speed = meter.end(timings);
    }
    this.keep(talk);
    this.running.delete(talk.id);
    if (this.talk === talk) {
      this.render();
    }
    if (this.app.isSeen(talk)) {
      showSpeed(this.app.props, null);
    }
    announce(answer.error ?? `Answer finished. ${answer.content}`);
    this.app.answered();
  }

  keep(talk) {
    if (this.running.get(talk.id)?.isDropped) {
      return;
    }
    talk.updated = Date.now();
    save(talk);
    this.app.listChanged();
  }

  /** All messages. */
  render() {
    const isRunning = this.running.has(this.talk.id);
    const isEmpty = this.talk.messages.length === 0;
    byId('chat-empty').hidden = !isEmpty;
    this.messages.replaceChildren(...this.talk.messages.map((message, i) => this.article(message, i)));
    this.renderControls(isRunning);
    this.renderSystem();
  }

  /** What the model is told first. */
  renderSystem() {
    const system = systemPrompt(this.talk.settings);
    byId('system-note').hidden = !system;
    byId('system-text').textContent = system;
  }

  renderControls(isRunning) {
    const send = byId('send');
    const hadFocus = [send, byId('stop')].includes(document.activeElement);
    send.hidden = isRunning;
    byId('stop').hidden = !isRunning;
    if (hadFocus) {
      this.input.focus();
    }
  }

  article(message, i) {
    const isUser = message.role === 'user';
    const isLast = i === this.talk.messages.length - 1;
    const isComing = isLast && !isUser && this.running.has(this.talk.id);
    const name = isUser ? 'You' : this.app.props.model_alias;
    const body = h('div', { class: isUser ? 'said' : 'prose' });
    if (isUser) {
      body.textContent = message.content;
    } else {
      show(body, message.content);
    }
    const article = h(
      'article',
      { class: `message ${message.role}`, 'aria-busy': isComing ? 'true' : null },
      h('h2', {}, name),
      body,
    );
    if (message.error) {
      article.append(h('p', { class: 'failure' }, message.error));
    }
    if (!isComing) {
      article.append(this.actions(message, i, isLast, article));
    }
    return article;
  }

  actions(message, i, isLast, article) {
    const row = h('div', { class: 'actions' });
    const copying = wordButton('Copy', () => copy(message.content, copying));
    if (message.content) {
      row.append(copying);
    }
    if (message.role === 'user') {
      row.append(wordButton('Edit', () => this.edit(article, i)));
    } else if (isLast) {
      row.append(wordButton('Again', () => this.ask(this.talk.messages.slice(0, i)), { title: 'Another answer' }));
    }
    const { speed } = message;
    const notes = [{ length: 'cut at its greatest length', stopped: 'stopped' }[message.end]];
    if (Number.isFinite(speed?.perSecond) && Number.isFinite(speed?.tokens)) {
      notes.push(`${speed.tokens} tokens`, rate(speed.perSecond), ofLimit(this.app.props, speed.perSecond));
    }
    row.append(h('span', { class: 'note' }, notes.filter(Boolean).join(' · ')));
    return row;
  }

  /** What is new of an answer, and follows it if the end of the page was in sight. */
  drawAnswer(talk, answer) {
    if (this.talk !== talk || !this.running.has(talk.id)) {
      return;
    }
    const root = document.documentElement;
    const isNearEnd = this.app.isSeen(talk) && root.scrollHeight - scrollY - innerHeight < NEAR_END_PX;
    show(this.messages.lastElementChild.querySelector('.prose'), answer.content);
    if (isNearEnd) {
      scrollTo({ top: root.scrollHeight });
    }
  }

  /** Turns a message into a field; sent anew, it and all after it are replaced. */
  edit(article, i) {
    const { talk } = this;
    const input = h('textarea', { class: 'edit', rows: 3, 'aria-label': 'Edit your message' });
    input.value = talk.messages[i].content;
    const close = () => {
      this.render();
      this.messages.children[i]?.querySelector('.actions button:last-of-type')?.focus();
    };
    const send = () => {
      const content = input.value.trim();
      if (content && !this.running.has(talk.id)) {
        this.ask([...talk.messages.slice(0, i), { role: 'user', content }]);
        this.input.focus();
      }
    };
    input.addEventListener('keydown', (event) => {
      if (isPlainKey(event, 'Escape')) {
        event.stopPropagation();
        close();
      } else if (isPlainKey(event, 'Enter') && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    const row = h('div', { class: 'actions' }, wordButton('Send', send), wordButton('Cancel', close));
    article.replaceChildren(article.firstElementChild, input, row);
    input.focus();
  }
}

/** What went wrong, and what helps. */
export function explained(error) {
  if (!(error instanceof ApiError)) {
    return String(error.message ?? error);
  }
  const help = {
    context_length_exceeded:
      'The conversation is longer than the model can read: begin a new one, or edit an earlier message.',
    queue_full: 'Too many requests wait at the server. Try again in a moment.',
  };
  return help[error.code] ?? error.message;
}
