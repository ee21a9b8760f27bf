// The page, in a real Chromium: searching by text and picture, keyboard, address, errors, and what axe finds.
// BLIP_SCREENSHOTS=FOLDER keeps pictures of it. Covers page, page-style, page-client.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { at } from '#blip/errors.js';
import type { RunningServer } from '#blip/server/server.js';
import { temporaryFolder } from '../helpers/files.js';
import { projectRoot } from '../helpers/fixtures.js';
import { type Opened, openTiny, rows, serveTiny } from './ask.js';

const found = spawnSync(process.execPath, [join(projectRoot, 'scripts/chromium.mjs')], { encoding: 'utf8' });
const skip = found.status === 0 ? false : found.stdout.trim();
const shots = process.env.BLIP_SCREENSHOTS;
const folder = temporaryFolder();
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
let tiny: Opened;
let server: RunningServer;
let browser: Browser;

before(async () => {
  if (skip) return;
  tiny = await openTiny(folder);
  server = await serveTiny(tiny);
  browser = await chromium.launch({ executablePath: found.stdout.trim(), args: ['--no-sandbox'] });
});
after(async () => {
  if (skip) return;
  await browser.close();
  await server.close();
  await tiny.blip.close();
});

interface Look {
  width?: number;
  dark?: boolean;
}

/** Opens the page; errors of its script, and what its policy refuses, fail the test. */
async function open(path: string, use: (page: Page) => Promise<void>, { width = 1400, dark = false }: Look = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: dark ? 'dark' : 'light',
    bypassCSP: false,
  });
  const wrong: string[] = [];
  try {
    const page = await context.newPage();
    page.on('pageerror', (error) => wrong.push(error.message));
    page.on('console', (line) => {
      const isAnswer = /status of (?:4\d\d|5\d\d)/.test(line.text());
      if (line.type() === 'error' && !isAnswer) wrong.push(line.text());
    });
    await page.goto(server.url + path);
    await use(page);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}
const found16 = /^\d+ of \d+ pictures in .*re-ranked\.$/;
const status = (page: Page) => page.locator('#status');
const waitFor = async (page: Page, text: RegExp) => {
  await status(page).filter({ hasText: text }).waitFor();
};
/** Waits until an image has its pixels. Asked from here: `waitForFunction` asks inside the page, whose policy forbids eval. */
async function waitForImage(page: Page, selector: string): Promise<void> {
  for (const end = Date.now() + 30_000; ; await page.waitForTimeout(20)) {
    if ((await page.evaluate(`document.querySelector('${selector}')?.naturalWidth > 0`)) === true) return;
    assert.ok(Date.now() < end, `no pixels of ${selector}`);
  }
}
/** Answers for pictures come late, as from a machine under load. */
async function slowPictures(page: Page): Promise<void> {
  await page.route(
    (url) => url.pathname.endsWith('/thumbnail'),
    async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      await route.continue();
    },
  );
}
async function shoot(page: Page, name: string): Promise<void> {
  if (shots === undefined) return;
  mkdirSync(shots, { recursive: true });
  await page.waitForLoadState('networkidle');
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

test('a text finds pictures, re-ranking adds the match, and the address has it all', { skip }, () =>
  open('/', async (page) => {
    await shoot(page, 'empty');
    await page.keyboard.press('/');
    await page.keyboard.type('a dog');
    await page.keyboard.press('Enter');
    await waitFor(page, /^\d+ of \d+ pictures in/);
    assert.equal(await page.getByText('Match (ITM)').count(), 0);
    await page.getByRole('switch').check({ force: true });
    await waitFor(page, found16);
    assert.equal(await page.getByText('Match (ITM)').count(), Math.min(16, rows.length));
    assert.match(page.url(), /\?q=a\+dog&rerank=16$/);
    assert.match((await page.locator('#cost').textContent()) ?? '', /about .* more/);
    await page.reload();
    await waitFor(page, found16);
    await page.goBack();
    await waitFor(page, /in \d+ ms\.$/);
  }),
);

test('keys move among the pictures, Enter opens one, and from it one finds more like it', { skip }, () =>
  open('/?q=a+dog', async (page) => {
    await waitFor(page, /pictures in/);
    await page.locator('#query').focus();
    await page.keyboard.press('ArrowDown');
    const label = () => page.evaluate('document.activeElement.getAttribute("aria-label")');
    const first = await label();
    await page.keyboard.press('ArrowRight');
    const second = await label();
    assert.match(String(second), /^Open .*similarity/);
    assert.notEqual(first, second);
    await slowPictures(page);
    await page.keyboard.press('Enter');
    await page.locator('#viewer[open]').waitFor();
    await waitForImage(page, '#large');
    await page.getByRole('button', { name: 'More like this', exact: true }).first().waitFor();
    await page.locator('#like').click();
    await page.locator('#sample').waitFor();
    assert.match(page.url(), /\?like=/);
    await waitFor(page, /pictures in/);
  }),
);

test('a chosen, a pasted and a dropped picture find themselves first', { skip }, () =>
  open('/', async (page) => {
    const { image } = at(rows, 2);
    const path = join(tiny.photos, image);
    const first = page.locator('#results li:first-child .id');
    await page.locator('#file').setInputFiles(path);
    await first.filter({ hasText: image }).waitFor();
    const data = readFileSync(path).toString('base64');
    for (const [kind, field] of [
      ['paste', 'clipboardData'],
      ['drop', 'dataTransfer'],
    ]) {
      await page.locator('#clear').click();
      await page.locator('#empty').waitFor();
      await page.evaluate(`(async () => {
        const bytes = Uint8Array.from(atob('${data}'), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], 'x.png', { type: 'image/png' }));
        const event = new Event('${kind}', { bubbles: true, cancelable: true });
        Object.defineProperty(event, '${field}', { value: transfer });
        document.body.dispatchEvent(event);
      })()`);
      await first.filter({ hasText: image }).waitFor();
    }
  }),
);

test('errors are shown, and said to screen readers', { skip }, () =>
  open('/', async (page) => {
    await page.locator('#file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('none') });
    await page.getByRole('alert').filter({ hasText: /image/ }).waitFor();
    await page.goto(`${server.url}/?like=nowhere`);
    await page
      .getByRole('alert')
      .filter({ hasText: /no image of this id/ })
      .waitFor();
  }),
);

test('a server with a token has the page ask for it', { skip }, async () => {
  const own = await serveTiny(tiny, { token: 'secret' });
  try {
    await open('/', async (page) => {
      await slowPictures(page);
      await page.goto(`${own.url}/?q=a+dog`);
      await page.locator('#token').fill('secret');
      await page.keyboard.press('Enter');
      await waitFor(page, /pictures in/);
      await waitForImage(page, '#results img');
    });
  } finally {
    await own.close();
  }
});

for (const look of [{ width: 1400 }, { width: 1400, dark: true }, { width: 400 }, { width: 400, dark: true }]) {
  const name = `${look.width}${look.dark ? '-dark' : ''}`;
  test(`axe finds nothing serious, and nothing is wider than the page: ${name}`, { skip }, () =>
    open(
      '/?q=a+dog&rerank=16',
      async (page) => {
        await waitFor(page, found16);
        await shoot(page, name);
        assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
        await page.evaluate(readFileSync(axe, 'utf8'));
        const serious = await page.evaluate(`axe.run().then(({ violations }) => violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`);
        assert.deepEqual(serious, []);
        await page.locator('.open').first().click();
        await page.locator('#viewer[open]').waitFor();
        await shoot(page, `${name}-open`);
      },
      look,
    ),
  );
}
