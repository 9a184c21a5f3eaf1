// Conversations: sent, streamed, stopped, edited, asked again, kept; and what a hostile answer cannot do.

/** Bytes a second of a poor connection: some tens of tokens. */
const POOR = 12_000;

const HOSTILE = [
  '<img src=x onerror="document.title=\'owned\'"> <script>document.title = "owned"</script>',
  '[click](javascript:document.title="owned") [data](data:text/html,owned) ![picture](https://evil.example/pixel.png)',
  '[name](https://user:secret@evil.example/) <https://fine.example/> [fine](https://fine.example/a?b=c)',
  '# <svg onload=document.title="owned">',
  '| <b>a</b> | b |\n|---|---|\n| <iframe src=//evil.example> | [x](vbscript:x) |',
  '```html" onmouseover="document.title=\'owned\'\n</code></pre><script>document.title="owned"</script>\n```',
  `${'> '.repeat(400)}deep`,
  `${'['.repeat(5000)}${'*'.repeat(5000)}${'`a'.repeat(2000)}`,
].join('\n\n');

export function chatChecks({ assert, browser, chatting, visit, slow, screenshot, chatUrl, key }) {
  const send = async (page, text) => {
    await page.fill('#prompt', text);
    await page.press('#prompt', 'Enter');
  };
  const set = async (page, name, value) => {
    await page.click('#open-settings');
    await page.fill(`#set-${name}`, value);
    await page.click('#settings-close');
  };
  /** The likeliest answer: the same each time, and to what is asked here a long one. */
  const likeliest = (page) => set(page, 'temperature', '0');
  /** Short answers, so that several have room in the context. */
  const brief = (page) => set(page, 'max_tokens', '40');
  const isDone = (page) => page.waitForSelector('#send:visible');
  const answer = (page) => page.locator('article.assistant .prose').last().innerText();
  const saysNothing = (complaints) => assert.deepEqual(complaints, []);
  /** The body of the next request for an answer. */
  const nextBody = async (page, act) => {
    const [request] = await Promise.all([
      page.waitForRequest((asked) => asked.url().endsWith('/v1/chat/completions')),
      act(),
    ]);
    return request.postDataJSON();
  };
  const stored = (id, messages, more = {}) => ({
    [`tercet/talk/${id}`]: JSON.stringify({
      id,
      kind: 'chat',
      updated: 1,
      settings: {},
      text: '',
      marks: [],
      messages,
      ...more,
    }),
  });

  return {
    'the page asks for a key, and a wrong one is told': async () => {
      const { page, complaints, context } = await visit(browser, chatUrl, { isQuiet: true });
      await page.waitForSelector('#key[open]');
      await page.fill('#key-value', 'wrong');
      await page.press('#key-value', 'Enter');
      await page.waitForSelector('#key-wrong:visible');
      await page.fill('#key-value', key);
      await page.click('#key button[type=submit]');
      await page.waitForSelector('#prompt:visible');
      const kept = await page.evaluate(() => [
        sessionStorage.getItem('tercet/key'),
        localStorage.getItem('tercet/key'),
      ]);
      assert.deepEqual(kept, [key, null], 'it is kept for the tab alone');
      await page.reload();
      await page.waitForSelector('#prompt:visible');
      saysNothing(complaints);
      await context.close();
    },
    'an answer comes in steps, with its speed': async () => {
      const { page, complaints, context } = await chatting();
      await page.waitForSelector('#prompt:visible');
      await likeliest(page);
      await slow(page, POOR);
      await send(page, 'Tell me about a dog.');
      const lengths = new Set();
      let speed = '';
      while (!(await page.isVisible('#send'))) {
        lengths.add((await answer(page)).length);
        if (!speed && (await page.isVisible('#speed'))) {
          speed = await page.innerText('#speed-rate');
          await screenshot(page, 'chat-streaming');
        }
      }
      assert.match(speed, /^[\d.]+ tokens\/s$/);
      assert.ok(lengths.size >= 4, `seen at ${[...lengths].join(', ')} characters`);
      assert.match(await page.locator('article.assistant .note').innerText(), /\d+ tokens · [\d.]+ tokens\/s/);
      await page.waitForFunction(() =>
        document.getElementById('announcement').textContent.startsWith('Answer finished.'),
      );
      saysNothing(complaints);
      await context.close();
    },
    'Escape stops an answer, and the part is kept': async () => {
      const { page, complaints, context } = await chatting();
      await page.waitForSelector('#prompt:visible');
      await likeliest(page);
      await slow(page, POOR);
      await send(page, 'Tell me about a dog.');
      await page.waitForFunction(() => document.querySelector('article.assistant .prose')?.textContent.length > 10);
      await page.keyboard.press('Escape');
      await isDone(page);
      const part = await answer(page);
      assert.ok(part.length > 10);
      assert.match(await page.locator('article.assistant .note').innerText(), /^stopped/);
      await page.reload();
      await page.waitForSelector('article.assistant');
      assert.equal(await answer(page), part);
      saysNothing(complaints);
      await context.close();
    },
    'a message is edited, and an answer asked for again': async () => {
      const { page, complaints, context } = await chatting();
      await page.waitForSelector('#prompt:visible');
      await brief(page);
      await send(page, 'One');
      await isDone(page);
      await send(page, 'Two');
      await isDone(page);
      let body = await nextBody(page, () => page.locator('article.assistant').last().getByRole('button', { name: 'Again' }).click());
      assert.deepEqual(
        body.messages.map(({ role }) => role),
        ['user', 'assistant', 'user'],
      );
      await isDone(page);
      await page.locator('article.user').first().getByRole('button', { name: 'Edit' }).click();
      await page.fill('textarea.edit', 'Three');
      body = await nextBody(page, () => page.press('textarea.edit', 'Enter'));
      assert.deepEqual(body.messages, [{ role: 'user', content: 'Three' }]);
      await isDone(page);
      assert.equal(await page.locator('article').count(), 2, 'what came after the edited message is gone');
      saysNothing(complaints);
      await context.close();
    },
    'system prompt and settings reach the request': async () => {
      const { page, complaints, context } = await chatting();
      await page.waitForSelector('#prompt:visible');
      await page.click('#open-settings');
      await page.fill('#set-system', 'Tell stories.');
      await page.fill('#set-temperature', '0.25');
      await page.fill('#set-top_k', '7');
      await page.fill('#set-max_tokens', '9');
      await page.fill('#set-seed', '3');
      await page.fill('#set-stop', 'END');
      await page.click('#settings-close');
      const body = await nextBody(page, () => send(page, 'Hello'));
      const { temperature, top_k: topK, max_tokens: most, seed, stop, messages, stream } = body;
      assert.deepEqual([temperature, topK, most, seed, stop, stream], [0.25, 7, 9, 3, ['END'], true]);
      assert.deepEqual(messages, [
        { role: 'system', content: 'Tell stories.' },
        { role: 'user', content: 'Hello' },
      ]);
      await isDone(page);
      saysNothing(complaints);
      await context.close();
    },
    'several conversations are kept, and deleted': async () => {
      const { page, complaints, context } = await chatting();
      await page.waitForSelector('#prompt:visible');
      for (const text of ['The first', 'The second']) {
        await page.click('#new');
        await send(page, text);
        await isDone(page);
      }
      await page.reload();
      await page.waitForSelector('article.user');
      assert.deepEqual(await page.locator('#list a').allInnerTexts(), ['The second', 'The first']);
      await page.locator('#list a').last().click();
      await page.waitForFunction(() => document.querySelector('article.user .said').textContent === 'The first');
      assert.equal(await page.locator('article').count(), 2);
      // A second tab deletes it; the first tab's list follows.
      const other = await context.newPage();
      await other.goto(page.url());
      await other.waitForSelector('#list li');
      const remove = other.locator('#list li').last().locator('button');
      await remove.focus();
      await remove.press('Enter');
      await remove.press('Enter');
      await page.waitForFunction(() => document.querySelectorAll('#list li').length === 1);
      saysNothing(complaints);
      await context.close();
    },
    'what is damaged in storage hurts nothing else': async () => {
      const storage = {
        ...stored('good', [{ role: 'user', content: 'Good' }]),
        ...stored('odd', 'no list'),
        'tercet/talk/broken': '{"id": "broken", ',
        'tercet/talk/null': 'null',
        'tercet/talk/other': JSON.stringify({ id: 'good' }),
        'tercet/theme': '"><script>',
      };
      const { page, complaints, context } = await chatting({ storage });
      await page.waitForSelector('article.user');
      assert.deepEqual(await page.locator('#list a').allInnerTexts(), ['Good']);
      saysNothing(complaints);
      await context.close();
    },
    'a storage that is full says so, and the talk goes on': async () => {
      const storage = { ...stored('a', []) };
      const { page, complaints, context } = await chatting({ storage });
      await page.waitForSelector('#prompt:visible');
      await page.evaluate(() => {
        for (let size = 1 << 22; size >= 1; size >>= 1) {
          try {
            localStorage.setItem('filler', (localStorage.getItem('filler') ?? '') + 'x'.repeat(size));
          } catch {
            // Full for this size.
          }
        }
      });
      await page.click('#new');
      await send(page, 'Hello');
      await isDone(page);
      await page.waitForSelector('#notice:visible');
      assert.ok((await answer(page)).length > 0);
      saysNothing(complaints);
      await context.close();
    },
    'hostile Markdown and HTML are text': async () => {
      const messages = [
        { role: 'user', content: HOSTILE },
        { role: 'assistant', content: HOSTILE },
      ];
      const { page, complaints, context } = await chatting({ storage: stored('hostile', messages) });
      await page.waitForSelector('article.assistant');
      const title = await page.title();
      assert.ok(!title.includes('owned'));
      const inside = await page.evaluate(() => {
        const elements = [...document.querySelectorAll('#messages *')];
        return {
          tags: [...new Set(elements.map((element) => element.localName))],
          handlers: elements.flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith('on')),
          links: [...document.querySelectorAll('#messages a')].map((link) => [link.protocol, link.host, link.rel]),
        };
      });
      for (const tag of ['script', 'img', 'svg', 'iframe', 'b', 'style', 'object', 'form']) {
        assert.ok(!inside.tags.includes(tag), `there is a ${tag}`);
      }
      assert.deepEqual(inside.handlers, []);
      assert.ok(inside.links.length >= 2);
      for (const [protocol, host, rel] of inside.links) {
        assert.ok(protocol === 'https:' && ['fine.example', 'evil.example'].includes(host), `${protocol}//${host}`);
        assert.ok(rel.includes('noopener') && rel.includes('noreferrer'));
      }
      saysNothing(complaints);
      await context.close();
    },
    'the keyboard reaches everything': async () => {
      const storage = stored('talk', [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: 'Hi' },
      ]);
      const { page, complaints, context } = await chatting({ storage });
      await page.waitForSelector('article.assistant');
      const wanted = await page.evaluate(() => {
        const all = [...document.querySelectorAll('a, button, textarea, input, [tabindex="0"]')];
        return all.filter((element) => element.checkVisibility({ visibilityProperty: true })).length;
      });
      await page.evaluate(() => document.activeElement.blur());
      const reached = new Set();
      for (let i = 0; i < wanted + 3; i += 1) {
        await page.keyboard.press('Tab');
        const found = await page.evaluate(() => {
          const element = document.activeElement;
          if (element === document.body) {
            return null;
          }
          element.dataset.reached ??= String(document.querySelectorAll('[data-reached]').length);
          const { outlineStyle, outlineWidth } = getComputedStyle(element);
          return { id: element.dataset.reached, isSeen: outlineStyle !== 'none' && outlineWidth !== '0px' };
        });
        if (found) {
          assert.ok(found.isSeen, `element ${found.id} shows no focus`);
          reached.add(found.id);
        }
      }
      assert.equal(reached.size, wanted);
      saysNothing(complaints);
      await context.close();
    },
    'light and dark follow the system, and a choice is kept': async () => {
      const { page, complaints, context } = await chatting({ colorScheme: 'dark' });
      await page.waitForSelector('#prompt:visible');
      const isDark = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor === 'rgb(23, 22, 20)');
      assert.ok(await isDark());
      await page.click('#theme');
      assert.ok(!(await isDark()));
      await page.reload();
      await page.waitForSelector('#prompt:visible');
      assert.ok(!(await isDark()));
      saysNothing(complaints);
      await context.close();
    },
    'a server that is gone is told': async () => {
      const { page, context } = await chatting({ isQuiet: true });
      await page.waitForSelector('#prompt:visible');
      await context.setOffline(true);
      await send(page, 'Hello');
      await page.waitForSelector('article.assistant .failure');
      assert.match(await page.innerText('article.assistant .failure'), /cannot be reached/);
      await context.close();
    },
  };
}
