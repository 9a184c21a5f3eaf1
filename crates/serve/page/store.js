// Conversations and texts, kept in this browser: one entry each, so that several tabs do not overwrite one another.

const PREFIX = 'tercet/talk/';
const TITLE_CHARACTERS = 48;

/**
 * @typedef {{role: 'user'|'assistant', content: string, end?: string, error?: string, speed?: object}} Message
 * @typedef {{id: string, kind: 'chat'|'text', updated: number, settings: Record<string, unknown>,
 *   messages: Message[], text: string, marks: number[]}} Talk
 */

/** Where nothing can be kept, they last as long as the page. */
const held = new Map();
let tellTrouble = () => {};

/**
 * Whom to tell when something cannot be kept.
 * @param {(message: string) => void} tell
 */
export function onTrouble(tell) {
  tellTrouble = tell;
}

/**
 * A new one, kept when something is in it.
 * @param {'chat'|'text'} kind
 * @param {Record<string, unknown>} [settings]
 * @returns {Talk}
 */
export function create(kind, settings = {}) {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const id = Date.now().toString(36) + random[0].toString(36) + random[1].toString(36);
  return { id, kind, updated: Date.now(), settings: { ...settings }, messages: [], text: '', marks: [] };
}

/**
 * What it is called: how it begins.
 * @param {Talk} talk
 */
export function title(talk) {
  const source = talk.kind === 'chat' ? (talk.messages[0]?.content ?? '') : talk.text;
  const line = source.trim().replace(/\s+/g, ' ');
  const cut = [...line].slice(0, TITLE_CHARACTERS).join('');
  return cut.length < line.length ? `${cut.trimEnd()}…` : cut || 'Untitled';
}

/**
 * All of a kind, newest first. What is damaged is passed over and left as it is.
 * @param {'chat'|'text'} kind
 * @returns {Talk[]}
 */
export function list(kind) {
  const talks = new Map(held);
  try {
    for (let i = 0; i < localStorage.length; i += 1) {
      const name = localStorage.key(i);
      if (name.startsWith(PREFIX)) {
        const talk = read(localStorage.getItem(name));
        if (talk && PREFIX + talk.id === name && !talks.has(talk.id)) {
          talks.set(talk.id, talk);
        }
      }
    }
  } catch {
    // Storage is forbidden.
  }
  return [...talks.values()].filter((talk) => talk.kind === kind).sort((a, b) => b.updated - a.updated);
}

/**
 * One of them.
 * @param {string} id
 * @returns {Talk|null}
 */
export function load(id) {
  if (held.has(id)) {
    return held.get(id);
  }
  try {
    const talk = read(localStorage.getItem(PREFIX + id));
    return talk?.id === id ? talk : null;
  } catch {
    return null;
  }
}

/**
 * Keeps it.
 * @param {Talk} talk
 */
export function save(talk) {
  try {
    localStorage.setItem(PREFIX + talk.id, JSON.stringify(talk));
    held.delete(talk.id);
  } catch {
    if (!held.has(talk.id)) {
      tellTrouble(
        'This browser keeps no more: what is new is lost when the page is closed. Deleting old conversations helps.',
      );
    }
    held.set(talk.id, talk);
  }
}

/**
 * Forgets it.
 * @param {string} id
 */
export function remove(id) {
  held.delete(id);
  try {
    localStorage.removeItem(PREFIX + id);
  } catch {
    // Storage is forbidden, so nothing was kept.
  }
}

/**
 * Calls back when another tab has changed or deleted one; without an id, perhaps all of them.
 * @param {(id: string|null) => void} changed
 */
export function watch(changed) {
  addEventListener('storage', (event) => {
    if (event.key === null) {
      changed(null);
    } else if (event.key.startsWith(PREFIX)) {
      changed(event.key.slice(PREFIX.length));
    }
  });
}

/** Checks what comes from storage, which other versions and other hands may have written. */
function read(source) {
  let found;
  try {
    found = JSON.parse(source);
  } catch {
    return null;
  }
  const isMessage = (message) =>
    (message?.role === 'user' || message?.role === 'assistant') && typeof message.content === 'string';
  const isTalk =
    typeof found?.id === 'string' &&
    (found.kind === 'chat' || found.kind === 'text') &&
    Array.isArray(found.messages) &&
    found.messages.every(isMessage) &&
    typeof found.text === 'string';
  if (!isTalk) {
    return null;
  }
  const isObject = typeof found.settings === 'object' && found.settings !== null && !Array.isArray(found.settings);
  const isMark = (mark) => Number.isInteger(mark) && mark >= 0 && mark <= found.text.length;
  return {
    ...found,
    updated: Number.isFinite(found.updated) ? found.updated : 0,
    settings: isObject ? found.settings : {},
    marks: Array.isArray(found.marks) ? found.marks.filter(isMark) : [],
  };
}
