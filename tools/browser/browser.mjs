// A browser that watches: what it loads from where, and what it complains about.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** Nothing of its own reaches the network. */
const QUIET = [
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--disable-gpu',
  // As root, in a container, it has no other choice.
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
];

export const DESKTOP = { width: 1180, height: 820 };
export const PHONE = { width: 360, height: 740 };

export const packages = {
  'playwright-core': require('playwright-core/package.json').version,
  'axe-core': require('axe-core/package.json').version,
};

/** Starts the program. */
export function launch(executablePath) {
  return chromium.launch({ executablePath, args: QUIET });
}

/**
 * A visitor with a storage of its own. `complaints` has what went wrong: errors, violations of the policy, requests to
 * others.
 */
export async function visit(
  browser,
  url,
  { viewport = DESKTOP, colorScheme = 'light', storage = {}, isQuiet = false } = {},
) {
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
  await context.addInitScript((entries) => {
    for (const [name, value] of Object.entries(entries)) {
      if (localStorage.getItem(name) === null) {
        localStorage.setItem(name, value);
      }
    }
  }, storage);
  const page = await context.newPage();
  const complaints = [];
  const origin = new URL(url).origin;
  page.on('pageerror', (error) => complaints.push(`error: ${error.stack ?? error}`));
  page.on('console', (message) => {
    const isExpected = isQuiet && message.text().includes('Failed to load resource');
    if (['error', 'warning'].includes(message.type()) && !isExpected) {
      complaints.push(`console: ${message.text()}`);
    }
  });
  page.on('request', (request) => {
    const { protocol, origin: asked } = new URL(request.url());
    if (protocol !== 'data:' && asked !== origin) {
      complaints.push(`request to ${request.url()}`);
    }
  });
  await page.goto(url);
  return { page, complaints, context };
}

/** Lets answers come slowly, as over a poor connection, so that there is time to see them come. */
export async function slow(page, bytesPerSecond) {
  const session = await page.context().newCDPSession(page);
  const conditions = { offline: false, latency: 0, uploadThroughput: -1, downloadThroughput: bytesPerSecond };
  await session.send('Network.emulateNetworkConditions', conditions);
}

/** What axe-core finds that is serious or critical: rule and place. */
export async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const isGrave = ({ impact }) => impact === 'serious' || impact === 'critical';
  return found.violations
    .filter(isGrave)
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`);
}

/** Pixels by which the page is wider than what is seen of it. */
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}
