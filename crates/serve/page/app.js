// The page: which view is seen, what it shows, and what all views share.

import { ApiError, json, key } from './api.js';
import { ChatView } from './chat.js';
import { ContinueView } from './continue.js';
import { announce, byId, h, isPlainKey } from './dom.js';
import { LayersView } from './layers.js';
import { openSettings } from './settings.js';
import { StatusView } from './status.js';
import * as store from './store.js';

/** Milliseconds between two questions whether the model is loaded. */
const READY_EVERY_MS = 500;
/** How often the bandwidth is asked for after it began to be measured. */
const BANDWIDTH_TRIES = 8;
const KINDS = { chat: 'chat', continue: 'text' };
const WORDS = {
  chat: { list: 'Conversations', one: 'conversation', create: 'New conversation' },
  continue: { list: 'Texts', one: 'text', create: 'New text' },
};

/** What all views share. */
const app = {
  props: null,
  /** An answer is whole: what the server knows of itself may have changed. */
  answered() {
    if (app.props.memory_bytes_per_second === null) {
      learnBandwidth();
    }
  },
  /** Asking has failed; a key can help. */
  failed(error) {
    if (error instanceof ApiError && error.status === 401) {
      askForKey();
    }
  },
  listChanged: () => drawList(),
  /** Whether this is what is seen. */
  isSeen: (talk) => current?.id === talk.id,
};

let views = null;
/** Which is seen: `chat`, `continue` or `server`, and of the first two which one. */
let [view, current] = ['', null];

// Starting.

async function start() {
  byId('theme').addEventListener('click', turnTheme);
  drawTheme();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawTheme);
  store.onTrouble((message) => notice(message));
  await untilReady();
  app.props = await knownProps();
  document.title = `${app.props.model_alias} · tercet`;
  byId('model').textContent = app.props.model_alias;
  views = {
    chat: new ChatView(app),
    continue: new ContinueView(app),
    status: new StatusView(app),
    layers: new LayersView(app),
  };
  byId('nav-chat').hidden = app.props.chat_template === null;
  byId('views').hidden = false;
  byId('starting').hidden = true;
  listen();
  route();
  if (app.props.memory_bytes_per_second === null) {
    learnBandwidth();
  }
}

/** While the model is loaded the page is there already. */
async function untilReady() {
  for (;;) {
    try {
      await json('ready');
      return;
    } catch (error) {
      const isLoading = error.status === 503 && error.message === 'Loading model';
      byId('starting-text').textContent = isLoading ? 'The model is being loaded …' : error.message;
      await new Promise((done) => setTimeout(done, READY_EVERY_MS));
    }
  }
}

async function knownProps() {
  for (;;) {
    try {
      return await json('props');
    } catch (error) {
      if (error.status === 401) {
        await askForKey();
      } else {
        byId('starting-text').textContent = error.message;
        await new Promise((done) => setTimeout(done, READY_EVERY_MS));
      }
    }
  }
}

let isLearning = false;

/** The server measures when it is first asked and has nothing else to do. */
async function learnBandwidth() {
  for (let i = 0; i < BANDWIDTH_TRIES && !isLearning && app.props.memory_bytes_per_second === null; i += 1) {
    isLearning = true;
    await new Promise((done) => setTimeout(done, READY_EVERY_MS * 2));
    try {
      app.props = await json('props');
    } catch {
      // It is not worth a word: speeds are shown without the limit.
    }
    isLearning = false;
  }
  if (view === 'server') {
    views.layers.describe();
  }
}

// The key.

let asking = null;

/** Asks for the server's key, once at a time. */
function askForKey() {
  asking ??= new Promise((done) => {
    const dialog = byId('key');
    byId('key-wrong').hidden = !key.get();
    byId('key-form').onsubmit = (event) => {
      event.preventDefault();
      key.set(byId('key-value').value.trim(), byId('key-remember').checked);
      byId('key-value').value = '';
      dialog.close();
    };
    dialog.onclose = () => {
      asking = null;
      done();
    };
    dialog.showModal();
  });
  return asking;
}

// Views.

/** `#chat/ID`, `#continue/ID` or `#server`. */
function route() {
  const [name, id] = location.hash.slice(1).split('/');
  const chats = app.props.chat_template !== null;
  const known = name === 'server' || name === 'continue' || (name === 'chat' && chats);
  if (!known) {
    if (view === '' || name === '') {
      go(app.props.mode === 'chat' ? 'chat' : 'continue');
    }
    return;
  }
  if (view === 'server' && name !== 'server') {
    views.status.close();
  }
  view = name;
  for (const other of ['chat', 'continue', 'server']) {
    byId(`view-${other}`).hidden = other !== name;
    byId(`nav-${other}`).setAttribute('aria-current', other === name ? 'page' : 'false');
  }
  document.body.dataset.view = name;
  closeDrawer();
  byId('speed').hidden = true;
  if (name === 'server') {
    current = null;
    views.status.open();
    views.layers.open();
    return;
  }
  byId('drawer').setAttribute('aria-label', WORDS[name].list);
  byId('drawer-word').textContent = WORDS[name].list;
  byId('new').textContent = WORDS[name].create;
  show(id);
}

function go(name, id = '') {
  const hash = `#${name}${id ? `/${id}` : ''}`;
  if (location.hash === hash) {
    route();
  } else {
    location.replace(hash);
  }
}

/** Opens what was asked for, else the newest, else a new one. */
function show(id) {
  const kind = KINDS[view];
  const found = id === 'new' ? null : id ? store.load(id) : store.list(kind)[0];
  const talk = found?.kind === kind ? found : null;
  if (talk && !id) {
    go(view, talk.id);
    return;
  }
  current = views[view].open(talk ?? store.create(kind, inherited(kind)));
  drawList();
  if (matchMedia('(min-width: 48rem)').matches) {
    byId(view === 'chat' ? 'prompt' : 'paper').focus();
  }
}

/** A new one is made like the last; what the model is told first is each one's own. */
function inherited(kind) {
  const { system: _, ...settings } = store.list(kind)[0]?.settings ?? {};
  return settings;
}

function drawList() {
  if (view === 'server') {
    return;
  }
  const kept = store.list(KINDS[view]);
  if (kept.some((talk) => talk.id === current.id) && location.hash !== `#${view}/${current.id}`) {
    // It is kept now, so a reload finds it.
    history.replaceState(null, '', `#${view}/${current.id}`);
  }
  const focused = document.activeElement?.dataset?.focus;
  byId('list').replaceChildren(
    ...kept.map((talk) => {
      const name = store.title(talk);
      const isCurrent = talk.id === current.id;
      const link = h(
        'a',
        { href: `#${view}/${talk.id}`, 'aria-current': isCurrent ? 'true' : null, 'data-focus': `open-${talk.id}` },
        name,
      );
      const button = h(
        'button',
        { type: 'button', class: 'word', 'aria-label': `Delete ${name}`, 'data-focus': `delete-${talk.id}` },
        'Delete',
      );
      button.addEventListener('click', () => remove(talk, name, button));
      return h('li', {}, link, button);
    }),
  );
  if (focused) {
    byId('list')
      .querySelector(`[data-focus="${CSS.escape(focused)}"]`)
      ?.focus();
  }
  byId('list-empty').hidden = kept.length > 0;
}

/** Asks by its own word before it deletes. */
function remove(talk, name, button) {
  if (button.dataset.sure === undefined) {
    button.dataset.sure = '';
    button.textContent = 'Sure?';
    button.setAttribute('aria-label', `Really delete ${name}?`);
    button.addEventListener('blur', () => drawList(), { once: true });
    return;
  }
  views[view].drop(talk.id);
  store.remove(talk.id);
  announce(`Deleted ${name}`);
  if (talk.id === current.id) {
    current = { id: '' };
    go(view, 'new');
  }
  drawList();
  byId('new').focus();
}

// What the page listens to.

function listen() {
  addEventListener('hashchange', route);
  byId('new').addEventListener('click', () => {
    closeDrawer();
    go(view, 'new');
  });
  byId('open-settings').addEventListener('click', () => {
    openSettings(current, app.props, () => {
      if (current.messages.length > 0 || current.text !== '') {
        store.save(current);
      }
      if (view === 'chat') {
        views.chat.renderSystem();
      }
    });
  });
  byId('settings-close').addEventListener('click', () => byId('settings').close());
  byId('drawer-toggle').addEventListener('click', () => {
    const isOpen = document.body.classList.toggle('drawer-open');
    byId('drawer-toggle').setAttribute('aria-expanded', String(isOpen));
  });
  byId('notice-close').addEventListener('click', () => {
    byId('notice').hidden = true;
  });
  addEventListener('keydown', (event) => {
    if (isPlainKey(event, 'Escape') && !document.querySelector('dialog[open]')) {
      closeDrawer();
      views[view]?.stop();
    }
  });
  store.watch((id) => {
    if (current?.id && (id === null || id === current.id) && !views[view].isRunning(current.id)) {
      const talk = store.load(current.id);
      if (talk) {
        current = views[view].open(talk);
      }
    }
    drawList();
  });
}

function closeDrawer() {
  document.body.classList.remove('drawer-open');
  byId('drawer-toggle').setAttribute('aria-expanded', 'false');
}

function notice(message) {
  byId('notice-text').textContent = message;
  byId('notice').hidden = false;
}

// Light and dark.

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function turnTheme() {
  const theme = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem('tercet/theme', theme);
  } catch {
    // Storage is forbidden: it lasts as long as the page.
  }
  drawTheme();
}

function drawTheme() {
  byId('theme').textContent = isDark() ? 'Light' : 'Dark';
}

start();
