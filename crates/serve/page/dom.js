// Elements, made by hand: text stays text, whatever it says.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An element. Attributes that begin with `on` are listeners; those that are null or false are left out.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/**
 * An element of a drawing.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  element.append(...children);
  return element;
}

/**
 * The element of the page with this id.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    throw new Error(`the page has no element \`${id}\``);
  }
  return element;
}

/**
 * A small button with a word on it.
 * @param {string} word
 * @param {() => void} onclick
 * @param {Record<string, unknown>} [attributes]
 */
export function wordButton(word, onclick, attributes = {}) {
  return h('button', { type: 'button', class: 'word', onclick, ...attributes }, word);
}

/**
 * Puts text on the clipboard and says so on the button.
 * @param {string} text
 * @param {HTMLElement} button
 */
export async function copy(text, button) {
  const word = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // A page that came over plain HTTP from another machine has no clipboard.
    button.textContent = 'No clipboard';
  }
  setTimeout(() => {
    button.textContent = word;
  }, 1500);
}

/**
 * Tells a screen reader, politely.
 * @param {string} text
 */
export function announce(text) {
  const region = byId('announcement');
  region.textContent = '';
  // Two changes at once are one, and the same text twice is none.
  setTimeout(() => {
    region.textContent = text;
  }, 50);
}

/**
 * Runs once in the next frame, however often it is asked to.
 * @param {() => void} work
 */
export function eachFrame(work) {
  let isAsked = false;
  return () => {
    if (!isAsked) {
      isAsked = true;
      requestAnimationFrame(() => {
        isAsked = false;
        work();
      });
    }
  };
}

/** Whether somebody who is typing asks for this key and not for a character of their script. */
export function isPlainKey(event, key) {
  return event.key === key && !event.isComposing && !event.ctrlKey && !event.metaKey && !event.altKey;
}
