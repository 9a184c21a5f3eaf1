// A browser looks at the page of `tercet serve` as people do.
//
//     node page_checks.mjs CHROMIUM URL CHAT_URL KEY FOLDER
//
// URL has the small model inside and no key; CHAT_URL a model with a template for conversations, behind KEY. It runs
// from a folder that has the packages. Screenshots go to FOLDER. Prints one JSON object:
// {"versions": {…}, "checks": [{"name": …, "error": null or why}]}.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { DESKTOP, PHONE, launch, overflow, packages, slow, violations, visit } from './browser.mjs';
import { chatChecks } from './chat_checks.mjs';
import { continueChecks } from './continue_checks.mjs';

const [executable, url, chatUrl, key, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch(executable);

/** A visitor who has given the key. */
const chatting = (options = {}) =>
  visit(browser, chatUrl, { ...options, storage: { 'tercet/key': key, ...options.storage } });
const visiting = (options) => visit(browser, url, options);
const screenshot = (page, name) => page.screenshot({ path: path.join(folder, `${name}.png`) });
const tools = { assert, browser, visiting, chatting, visit, slow, overflow, screenshot, url, chatUrl, key };

/** Every state of the page that looks different. */
const STATES = {
  'an empty conversation': async (options) => {
    const visitor = await chatting(options);
    await visitor.page.waitForSelector('#prompt:visible');
    return visitor;
  },
  'a conversation': async (options) => {
    const visitor = await chatting({ ...options, storage: { 'tercet/talk/shown': JSON.stringify(SHOWN) } });
    await visitor.page.waitForSelector('article.assistant table');
    return visitor;
  },
  settings: async (options) => {
    const visitor = await chatting(options);
    await visitor.page.click('#open-settings');
    return visitor;
  },
  'the question for a key': async (options) => {
    const visitor = await visit(browser, chatUrl, { ...options, isQuiet: true });
    await visitor.page.waitForSelector('#key[open]');
    return visitor;
  },
  'a text': async (options) => {
    const visitor = await visiting(options);
    await visitor.page.fill('#paper', 'Once upon a time');
    await visitor.page.click('#go');
    await visitor.page.waitForSelector('#undo:visible');
    return visitor;
  },
  'the server': async (options) => {
    const visitor = await visiting(options);
    await visitor.page.click('#nav-server');
    await visitor.page.waitForSelector('#layers tbody tr');
    await visitor.page.waitForSelector('#stat-running small');
    return visitor;
  },
  'layers in numbers': async (options) => {
    const visitor = await visiting(options);
    await visitor.page.click('#nav-server');
    await visitor.page.waitForSelector('#layers tbody tr');
    await visitor.page.check('#as-numbers');
    return visitor;
  },
};

/** One answer with all that Markdown has. */
const SHOWN = {
  id: 'shown',
  kind: 'chat',
  updated: 1,
  settings: { system: 'Answer in three lines.' },
  text: '',
  marks: [],
  messages: [
    { role: 'user', content: 'What is a tercet?' },
    {
      role: 'assistant',
      end: 'stop',
      content:
        'A **tercet** is a stanza of *three* lines; here, a weight of three values.\n\n' +
        '| value | does |\n|---|---|\n| `-1` | subtracts |\n| `0` | nothing |\n| `+1` | adds |\n\n' +
        '```rust\nlet sum: i32 = codes.zip(x).map(|(code, x)| (code - 1) * x).sum();\n```\n\n' +
        '> Nothing is multiplied.\n\n1. Quantise\n2. Add\n   - or subtract\n3. Scale, [once](https://example.org/)',
    },
  ],
};

async function looksRight(state, open) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      const { page, complaints, context } = await open({ colorScheme, viewport });
      const where = `${colorScheme}, ${size}`;
      assert.deepEqual(await violations(page), [], where);
      assert.ok((await overflow(page)) <= 0, `${where}: it is ${await overflow(page)} pixels too wide`);
      await screenshot(page, `${state}-${colorScheme}-${size}`.replaceAll(' ', '-'));
      assert.deepEqual(complaints, [], where);
      await context.close();
    }
  }
}

const checks = { ...chatChecks(tools), ...continueChecks(tools) };
for (const [state, open] of Object.entries(STATES)) {
  checks[`${state}: axe finds nothing serious, light and dark, on desktop and phone`] = () => looksRight(state, open);
}

const found = [];
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
    found.push({ name, error: null });
  } catch (error) {
    found.push({
      name,
      error: String(error.stack ?? error)
        .split('\n')
        .slice(0, 12)
        .join(' '),
    });
  }
}
const versions = { chromium: browser.version(), ...packages, node: process.version };
await browser.close();
console.log(JSON.stringify({ versions, checks: found }));
