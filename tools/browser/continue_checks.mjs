// A model that does not converse: its text goes on; and what the server tells of itself.

const POOR = 12_000;

export function continueChecks({ assert, visiting, slow, screenshot }) {
  const text = (page) => page.inputValue('#paper');
  const isDone = (page) => page.waitForSelector('#go:visible');
  const saysNothing = (complaints) => assert.deepEqual(complaints, []);
  const opened = async (options) => {
    const visitor = await visiting(options);
    await visitor.page.waitForSelector('#paper:visible');
    return visitor;
  };

  return {
    'a base model opens as Continue, and its text comes in steps': async () => {
      const { page, complaints, context } = await opened();
      await page.fill('#paper', 'Once upon a time');
      await slow(page, POOR);
      await page.press('#paper', 'Control+Enter');
      const lengths = new Set();
      while (!(await page.isVisible('#go'))) {
        lengths.add((await text(page)).length);
        if (lengths.size === 6) {
          await screenshot(page, 'continue-streaming');
        }
      }
      assert.ok(lengths.size >= 4, `seen at ${[...lengths].join(', ')} characters`);
      assert.ok((await text(page)).startsWith('Once upon a time'));
      saysNothing(complaints);
      await context.close();
    },
    'a continuation is stopped, taken back, and made anew': async () => {
      const { page, complaints, context } = await opened();
      const begun = 'Once upon a time there was a dog';
      // Few tokens, so that no story comes to its end meanwhile.
      await page.click('#open-settings');
      await page.fill('#set-max_tokens', '30');
      await page.click('#settings-close');
      await page.fill('#paper', begun);
      await slow(page, POOR);
      await page.click('#go');
      await page.waitForFunction((length) => document.getElementById('paper').value.length > length + 10, begun.length);
      await page.keyboard.press('Escape');
      await isDone(page);
      const first = await text(page);
      assert.ok(first.length > begun.length + 10);
      await page.click('#undo');
      assert.equal(await text(page), begun);
      assert.ok(!(await page.isVisible('#undo')));
      await slow(page, -1);
      await page.click('#go');
      await isDone(page);
      const second = await text(page);
      await page.click('#go');
      await isDone(page);
      const third = await text(page);
      assert.ok(third.startsWith(second));
      await page.click('#redo');
      await isDone(page);
      assert.ok((await text(page)).startsWith(second));
      await page.click('#undo');
      assert.equal(await text(page), second);
      await page.reload();
      await page.waitForSelector('#paper:visible');
      assert.equal(await text(page), second, 'it is kept');
      saysNothing(complaints);
      await context.close();
    },
    'a text longer than the context goes on': async () => {
      const { page, complaints, context } = await opened();
      const long = 'The little dog ran to the park. '.repeat(200);
      await page.fill('#paper', long);
      await page.click('#go');
      await isDone(page);
      assert.ok((await text(page)).length > long.length, await page.innerText('#paper-note'));
      assert.match(await page.innerText('#paper-note'), /read the last \d+ tokens/);
      saysNothing(complaints);
      await context.close();
    },
    'where both work, the reader chooses': async () => {
      const { page, complaints, context } = await opened();
      await page.click('#nav-chat');
      await page.waitForSelector('#prompt:visible');
      await page.fill('#prompt', 'Once upon a time');
      await page.press('#prompt', 'Enter');
      await page.waitForSelector('#send:visible');
      assert.ok((await page.locator('article.assistant .prose').innerText()).length > 0);
      saysNothing(complaints);
      await context.close();
    },
    'the server tells what it does and what is in the model': async () => {
      const { page, complaints, context } = await opened();
      await page.fill('#paper', 'Once upon a time');
      await page.click('#go');
      await isDone(page);
      await page.click('#nav-server');
      await page.waitForSelector('#layers tbody tr');
      assert.equal(await page.locator('#layers tbody tr').count(), 8);
      assert.equal(await page.locator('#layers thead th').count(), 8);
      const shares = await page.locator('#layers td').first().locator('.number').allTextContents();
      const sum = shares.map((share) => Number(/([\d.]+) %/.exec(share)[1])).reduce((a, b) => a + b);
      assert.ok(Math.abs(sum - 100) < 0.2, shares.join());
      assert.equal(await page.locator('#stanza li').count(), 3);
      const cell = await page.locator('#layers .bar').first().boundingBox();
      const part = await page.locator('#layers .bar .part').first().boundingBox();
      assert.ok(part.width > cell.width / 10 && part.width < cell.width, 'bars have their lengths');
      for (const [id, pattern] of [
        ['running', /^0\s+of 32/],
        ['waiting', /^0\s+of 256/],
        ['cache', /%/],
        ['total', /^\d/],
      ]) {
        await page.waitForSelector(`#stat-${id}:not(:empty)`);
        const found = (await page.locator(`dl div:has(#stat-${id})`).innerText()).split('\n').slice(1).join(' ');
        assert.match(found, pattern, id);
      }
      // The speed of the machine is measured when somebody looks first.
      await page.waitForFunction(() => /GB\/s/.test(document.getElementById('facts').textContent), null, {
        timeout: 20_000,
      });
      saysNothing(complaints);
      await context.close();
    },
    'what the server writes is seen live': async () => {
      const { page, complaints, context } = await opened({
        colorScheme: 'dark',
        viewport: { width: 1180, height: 1240 },
      });
      await page.click('#nav-server');
      await page.waitForSelector('#layers tbody tr');
      await page.waitForFunction(() => /GB\/s/.test(document.getElementById('facts').textContent), null, {
        timeout: 20_000,
      });
      const busy = page.evaluate(async () => {
        const body = JSON.stringify({ prompt: 'Once upon a time', max_tokens: 200, ignore_eos: true });
        const headers = { 'content-type': 'application/json' };
        // Few texts, then more, for as long as some steps of the drawing.
        for (let i = 0; i < 60; i += 1) {
          const texts = Array.from({ length: 1 + (i >> 3) }, () =>
            fetch('v1/completions', { method: 'POST', headers, body }),
          );
          await Promise.all(texts.map(async (text) => (await text).json()));
        }
      });
      await page.waitForFunction(() => Number(document.getElementById('stat-rate').textContent) > 100);
      await page.waitForFunction(() => document.querySelector('#trace polyline')?.points.numberOfItems > 6);
      await screenshot(page, 'server');
      await busy;
      saysNothing(complaints);
      await context.close();
    },
  };
}
