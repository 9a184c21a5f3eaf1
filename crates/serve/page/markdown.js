// Markdown as elements. Everything a model writes is hostile until shown: there is no way from its text to markup but
// the few elements made here, and none of them has an attribute of its choosing but a link's address over HTTP.

import { copy, h, wordButton } from './dom.js';

/** Levels of quotes and lists; what is deeper is text. */
const DEPTH_MAX = 8;
/** A longer run of text is shown as it is. */
const INLINE_MAX = 20_000;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +)(\S.*)$/;
const QUOTE = /^ {0,3}> ?/;
const TABLE_LINE = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

/**
 * Shows a text in an element. Called again with more of the same text, it makes anew only what has changed.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function show(element, text) {
  const blocks = blocksOf(text.replace(/\r\n?/g, '\n').split('\n'));
  const before = element.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < before.length && blocks[same].source === before[same]) {
    same += 1;
  }
  while (element.childNodes.length > same) {
    element.lastChild.remove();
  }
  element.append(...blocks.slice(same).map((block) => block.make()));
  element.blocks = blocks.map((block) => block.source);
}

/** The blocks of some lines: each with the lines it is made of, and what makes it. */
function blocksOf(lines, depth = 0) {
  const blocks = [];
  let i = 0;
  const push = (end, make) => {
    blocks.push({ source: lines.slice(i, end).join('\n'), make });
    i = end;
  };
  while (i < lines.length) {
    const line = lines[i];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (line.trim() === '') {
      i += 1;
    } else if (fence) {
      const end = endOfFence(lines, i, fence[1]);
      const isClosed = end > i + 1 && isFenceEnd(lines[end - 1], fence[1]);
      const code = lines.slice(i + 1, isClosed ? end - 1 : end).join('\n');
      push(end, () => codeBlock(code, fence[2]));
    } else if (heading) {
      // The page has a heading of its own above these.
      const level = Math.min(6, heading[1].length + 2);
      push(i + 1, () => h(`h${level}`, {}, ...inline(heading[2])));
    } else if (RULE.test(line)) {
      push(i + 1, () => h('hr'));
    } else if (QUOTE.test(line) && depth < DEPTH_MAX) {
      const end = endWhere(lines, i, (next) => !QUOTE.test(next));
      const inner = lines.slice(i, end).map((next) => next.replace(QUOTE, ''));
      push(end, () => h('blockquote', {}, ...made(inner, depth + 1)));
    } else if (ITEM.test(line) && depth < DEPTH_MAX) {
      const end = endOfList(lines, i);
      const inner = lines.slice(i, end);
      push(end, () => listOf(inner, depth + 1));
    } else if (
      line.includes('|') &&
      i + 1 < lines.length &&
      TABLE_LINE.test(lines[i + 1]) &&
      lines[i + 1].includes('-')
    ) {
      const end = endWhere(lines, i + 2, (next) => !next.includes('|'));
      const rows = lines.slice(i, end);
      push(end, () => table(rows));
    } else {
      const end = endWhere(lines, i + 1, beginsBlock);
      const paragraph = lines.slice(i, end).map((next) => next.trim());
      push(end, () => h('p', {}, ...broken(paragraph)));
    }
  }
  return blocks;
}

function made(lines, depth) {
  return blocksOf(lines, depth).map((block) => block.make());
}

function endWhere(lines, start, isEnd) {
  let end = start;
  while (end < lines.length && !isEnd(lines[end])) {
    end += 1;
  }
  return end;
}

function beginsBlock(line) {
  return line.trim() === '' || [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
}

function isFenceEnd(line, mark) {
  const trimmed = line.trim();
  return trimmed.length >= mark.length && trimmed === mark[0].repeat(trimmed.length);
}

/** One after the line that closes it, or the end: an answer that still comes is code until told otherwise. */
function endOfFence(lines, start, mark) {
  return Math.min(lines.length, endWhere(lines, start + 1, (line) => isFenceEnd(line, mark)) + 1);
}

function codeBlock(code, language) {
  const name = language.replace(/[^\w+#.-]/g, '').slice(0, 24);
  const button = wordButton('Copy', () => copy(code, button), { 'aria-label': 'Copy code' });
  const bar = h('figcaption', {}, h('span', {}, name || 'code'), button);
  // It scrolls sideways, so the keyboard must reach it.
  const pre = h('pre', { tabindex: 0, role: 'region', 'aria-label': `${name || 'code'} block` }, h('code', {}, code));
  return h('figure', { class: 'code' }, bar, pre);
}

/** A list goes on over indented and empty lines as long as another item or an indented line follows. */
function endOfList(lines, start) {
  const isOrdered = /\d/.test(ITEM.exec(lines[start])[2]);
  let end = start + 1;
  for (let i = start + 1; i < lines.length; i += 1) {
    const item = ITEM.exec(lines[i]);
    if (lines[i].trim() === '') {
      continue;
    }
    const isGap = end < i;
    const goesOn =
      /^(?: {2,}|\t)/.test(lines[i]) ||
      (item && /\d/.test(item[2]) === isOrdered) ||
      (!isGap && !beginsBlock(lines[i]));
    if (!goesOn) {
      break;
    }
    end = i + 1;
  }
  return end;
}

function listOf(lines, depth) {
  const items = [];
  let indent = 0;
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && (items.length === 0 || item[1].length < indent)) {
      indent = item[1].length + item[2].length + Math.min(item[3].length, 4);
      items.push([item[4]]);
    } else {
      items.at(-1).push(line.startsWith('\t') ? line.slice(1) : line.replace(new RegExp(`^ {0,${indent}}`), ''));
    }
  }
  const [, , mark] = ITEM.exec(lines[0]);
  const isOrdered = /\d/.test(mark);
  const elements = items.map((item) => {
    const blocks = made(item, depth);
    const isTight = blocks[0]?.tagName === 'P' && !item.includes('');
    return h('li', {}, ...(isTight ? [...blocks[0].childNodes, ...blocks.slice(1)] : blocks));
  });
  const start = Number.parseInt(mark, 10);
  return isOrdered ? h('ol', { start: start === 1 ? null : start }, ...elements) : h('ul', {}, ...elements);
}

function table(lines) {
  const cells = (line) => {
    const inner = line.trim().replace(/^\|/, '').replace(/\|$/, '');
    return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, '|'));
  };
  const aligns = cells(lines[1]).map((cell) => {
    const [left, right] = [cell.startsWith(':'), cell.endsWith(':')];
    return right ? (left ? 'center' : 'end') : null;
  });
  const columns = cells(lines[0]).length;
  const row = (line, tag) => {
    const found = cells(line).slice(0, columns);
    const all = [...found, ...Array(columns - found.length).fill('')];
    const scope = tag === 'th' ? 'col' : null;
    return h('tr', {}, ...all.map((cell, i) => h(tag, { scope, class: aligns[i] }, ...inline(cell))));
  };
  const head = h('thead', {}, row(lines[0], 'th'));
  const body = h('tbody', {}, ...lines.slice(2).map((line) => row(line, 'td')));
  const region = { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Table' };
  return h('div', region, h('table', {}, head, body));
}

/** Lines that the model broke stay broken. */
function broken(lines) {
  return inline(lines.join('\n')).flatMap((node) => {
    if (typeof node !== 'string') {
      return [node];
    }
    return node.split('\n').flatMap((line, i) => (i > 0 ? [h('br'), line] : [line]));
  });
}

/** Pairs of marks: what opens and closes, and the element between. */
const PAIRS = [
  ['**', 'strong'],
  ['__', 'strong'],
  ['~~', 'del'],
  ['*', 'em'],
  ['_', 'em'],
];

/** A run of text: strings and elements. */
function inline(text, depth = 0) {
  if (text.length > INLINE_MAX || depth > DEPTH_MAX) {
    return [text];
  }
  const nodes = [];
  let plain = '';
  // Of a mark that has no end after here, there is none later either: looked for once, not at every place.
  const hasNone = new Set();
  const add = (node) => {
    if (plain) {
      nodes.push(plain);
      plain = '';
    }
    nodes.push(node);
  };
  let i = 0;
  while (i < text.length) {
    const found =
      text[i] === '\\'
        ? escaped(text, i)
        : text[i] === '`'
          ? codeSpan(text, i, hasNone)
          : text[i] === '[' || text.startsWith('![', i)
            ? link(text, i, depth, hasNone)
            : text[i] === 'h'
              ? bareLink(text, i)
              : pair(text, i, depth, hasNone);
    if (!found) {
      plain += text[i];
      i += 1;
    } else if (typeof found.node === 'string') {
      plain += found.node;
      i = found.end;
    } else {
      add(found.node);
      i = found.end;
    }
  }
  if (plain) {
    nodes.push(plain);
  }
  return nodes;
}

function escaped(text, i) {
  return /[!-/:-@[-`{-~]/.test(text[i + 1] ?? '') ? { node: text[i + 1], end: i + 2 } : null;
}

function codeSpan(text, i, hasNone) {
  let width = 1;
  while (text[i + width] === '`') {
    width += 1;
  }
  const mark = '`'.repeat(width);
  const end = next(text, mark, i + width, hasNone);
  if (end < 0) {
    return { node: mark, end: i + width };
  }
  const code = text.slice(i + width, end).replace(/\n/g, ' ');
  const isPadded = code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '';
  return { node: h('code', {}, isPadded ? code.slice(1, -1) : code), end: end + width };
}

/** A link, or a picture's, which is shown as a link: the page loads nothing of others. */
function link(text, i, depth, hasNone) {
  const open = text[i] === '!' ? i + 1 : i;
  const close = next(text, '](', open + 1, hasNone);
  const end = close < 0 ? -1 : next(text, ')', close + 2, hasNone);
  if (end < 0 || text.slice(open + 1, close).includes('\n\n')) {
    return null;
  }
  const target = text
    .slice(close + 2, end)
    .trim()
    .split(/\s+/)[0];
  const label = text.slice(open + 1, close);
  const to = safeAddress(target);
  return to ? { node: anchor(to, label ? inline(label, depth + 1) : [to]), end: end + 1 } : null;
}

function bareLink(text, i) {
  if (i > 0 && /\w/.test(text[i - 1])) {
    return null;
  }
  const pattern = /https?:\/\/[^\s<>"'`*\\|]{1,2000}/y;
  pattern.lastIndex = i;
  const found = pattern.exec(text)?.[0].replace(/[.,;:!?)\]]+$/, '');
  const to = found && safeAddress(found);
  return to ? { node: anchor(to, [found]), end: i + found.length } : null;
}

/** An address over HTTP, written out; null for any other scheme, and for one with a name and password. */
function safeAddress(target) {
  if (!/^https?:\/\//i.test(target)) {
    return null;
  }
  try {
    const url = new URL(target);
    return url.username || url.password ? null : url.href;
  } catch {
    return null;
  }
}

function anchor(href, children) {
  return h('a', { href, rel: 'noopener noreferrer nofollow', target: '_blank' }, ...children);
}

function pair(text, i, depth, hasNone) {
  const found = PAIRS.find(([mark]) => text.startsWith(mark, i));
  if (!found) {
    return null;
  }
  const [mark, tag] = found;
  const start = i + mark.length;
  // `snake_case` and `2 * 3` have no emphasis.
  const isWord = mark[0] === '_' && /\w/.test(text[i - 1] ?? '');
  const isOpen = /\S/.test(text[start] ?? '') && !isWord;
  let end = isOpen ? next(text, mark, start + 1, hasNone) : -1;
  while (end >= 0 && (/\s/.test(text[end - 1]) || (mark.length === 1 && text[end + 1] === mark))) {
    end = next(text, mark, end + (text[end + 1] === mark ? 2 : 1), hasNone);
  }
  if (end < 0) {
    return { node: mark, end: start };
  }
  return { node: h(tag, {}, ...inline(text.slice(start, end), depth + 1)), end: end + mark.length };
}

function next(text, mark, from, hasNone) {
  if (hasNone.has(mark)) {
    return -1;
  }
  const at = text.indexOf(mark, from);
  if (at < 0) {
    hasNone.add(mark);
  }
  return at;
}
