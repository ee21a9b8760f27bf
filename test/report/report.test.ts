// report.html as a reader has it: its numbers are those of evaluate.txt, nothing is fetched, axe finds nothing serious,
// nothing is wider than the page; and `report` and `compare` make the same from files.
// BLIP_SCREENSHOTS=FOLDER keeps pictures of it. Covers report, commands/report, evaluation/insight, run-facts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { METRICS } from '#blip/evaluation/bootstrap.js';
import { parseInsight } from '#blip/evaluation/insight.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { TinyRuns } from '../helpers/tiny-run.js';

const found = spawnSync(process.execPath, [join(projectRoot, 'scripts/chromium.mjs')], { encoding: 'utf8' });
const skip = found.status === 0 ? false : found.stdout.trim();
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const shots = process.env.BLIP_SCREENSHOTS;
const tiny = new TinyRuns();
let browser: Browser | undefined;

before(async () => {
  await tiny.write();
  const evaluated = await tiny.run('evaluated', '--evaluate', '--save_scores');
  assert.equal(evaluated.code, 0, evaluated.stderr);
  const trained = await tiny.run('trained', '--log_every', '2', '--set', 'max_epoch=2');
  assert.equal(trained.code, 0, trained.stderr);
  if (!skip) browser = await chromium.launch({ executablePath: found.stdout.trim(), args: ['--no-sandbox'] });
});
after(() => browser?.close());

const textOf = (run: string, file: string) => readFileSync(tiny.path(run, file), 'utf8');
const insight = (run: string, split = 'test') =>
  parseInsight('insight', readFileSync(tiny.path(run, `insight_${split}.json`), 'utf8'));
const evaluation = (run: string) =>
  JSON.parse(textOf(run, 'evaluate.txt').trim().split('\n').at(-1) ?? '') as Record<string, number>;

interface Look {
  width: number;
  dark?: boolean;
}

/** Opens a run's report; whatever it asks the network for fails the test. */
async function open(run: string, { width, dark = false }: Look, use: (page: Page) => Promise<void>): Promise<void> {
  if (browser === undefined) throw new Error('There is no browser.');
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: dark ? 'dark' : 'light',
    javaScriptEnabled: true,
    bypassCSP: true, // for axe: the page itself has no script
  });
  const asked: string[] = [];
  try {
    const page = await context.newPage();
    page.on('request', (request) => {
      if (!/^(?:file|data):/.test(request.url())) asked.push(request.url());
    });
    await page.goto(pathToFileURL(tiny.path(run, 'report.html')).href);
    await use(page);
    assert.deepEqual(asked, []);
  } finally {
    await context.close();
  }
}

test('the page has the recalls of evaluate.txt, for both splits', { skip }, () =>
  open('evaluated', { width: 1400 }, async (page) => {
    const values = evaluation('evaluated');
    for (const split of ['val', 'test'])
      for (const name of METRICS) {
        const shown = await page.locator(`[data-metric="${split}_${name}"]`).textContent();
        assert.equal(shown, (values[`${split}_${name}`] ?? Number.NaN).toFixed(2), `${split} ${name}`);
      }
    assert.equal(await page.evaluate('[...document.images].every((image) => image.naturalWidth > 0)'), true);
    assert.ok((await page.locator('img').count()) > 10);
    assert.equal(await page.locator('script').count(), 0);
  }),
);

for (const run of ['evaluated', 'trained'])
  for (const look of [{ width: 1400 }, { width: 1400, dark: true }, { width: 400 }, { width: 400, dark: true }]) {
    const name = `${run}-${look.width}${look.dark ? '-dark' : ''}`;
    test(`axe finds nothing serious, and nothing is wider than the page: ${name}`, { skip }, () =>
      open(run, look, async (page) => {
        await page.evaluate('document.querySelectorAll("details").forEach((each) => { each.open = true; })');
        if (shots !== undefined) {
          mkdirSync(shots, { recursive: true });
          await page.screenshot({ path: join(shots, `report-${name}.png`), fullPage: true });
        }
        assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
        await page.evaluate(readFileSync(axe, 'utf8'));
        const serious = await page.evaluate(`axe.run().then(({ violations }) => violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ').slice(0, 300)))`);
        assert.deepEqual(serious, []);
      }),
    );
  }

test('the curve of k_test is what runs with those k give', async () => {
  const { byK, kTest, metrics } = insight('evaluated');
  assert.deepEqual(
    byK[kTest - 1],
    METRICS.map((name) => metrics[name]),
  );
  for (const k of [1, 3, 5]) {
    const run = await tiny.run(`k${k}`, '--evaluate', '--set', `k_test=${k}`);
    assert.equal(run.code, 0, run.stderr);
    const separate = insight(`k${k}`).metrics;
    assert.deepEqual(
      byK[k - 1],
      METRICS.map((name) => separate[name]),
      `k ${k}`,
    );
  }
});

test('retrieved_test.jsonl lists every query with both scores and the rank of its right answer', () => {
  const lines = textOf('evaluated', 'retrieved_test.jsonl').trim().split('\n');
  const { images, texts, queryRanks, metrics } = insight('evaluated');
  assert.equal(lines.length, images + texts);
  const rows = lines.map((line) => JSON.parse(line) as { direction: string; rank: number | null; found: object[] });
  const ofImages = rows.filter(({ direction }) => direction === 'image_to_text');
  assert.deepEqual(
    ofImages.map(({ rank }) => rank),
    queryRanks.imageToText,
  );
  const first = ofImages.filter(({ rank }) => rank === 1).length;
  assert.equal((100 * first) / images, metrics.txt_r1);
  assert.deepEqual(Object.keys(rows[0]?.found[0] ?? {}).sort(), ['id', 'isRight', 'name', 'score', 'similarity']);
});

test('`report` makes the page again from files, also where an image has gone', async () => {
  const page = textOf('evaluated', 'report.html');
  rmSync(tiny.path('evaluated', 'report.html'));
  const again = await runCli(['report', tiny.path('evaluated')]);
  assert.equal(again.code, 0, again.stderr);
  assert.equal(again.stdout.trim(), tiny.path('evaluated', 'report.html'));
  assert.equal(textOf('evaluated', 'report.html'), page);
  const path = tiny.path('evaluated', 'insight_test.json');
  const kept = readFileSync(path, 'utf8');
  writeFileSync(path, kept.replace(/"(imageRoot\w*)":"[^"]*"/g, '"$1":"/nowhere"'));
  const without = await runCli(['report', tiny.path('evaluated')]);
  assert.equal(without.code, 0, without.stderr);
  const pale = textOf('evaluated', 'report.html');
  assert.match(pale, /class="gone"/);
  assert.doesNotMatch(pale, /data:image/);
  writeFileSync(path, kept);
});

test('a report of several runs, and their comparison', async () => {
  const output = join(tiny.folder, 'both.html');
  const both = await runCli(['report', tiny.path('evaluated'), tiny.path('trained'), '-o', output]);
  assert.equal(both.code, 0, both.stderr);
  const page = readFileSync(output, 'utf8');
  assert.match(page, /<h2>trained against evaluated<\/h2>/);
  const [a, b] = [insight('evaluated'), insight('trained')];
  const compared = await runCli(['compare', tiny.path('evaluated'), tiny.path('trained'), '--json']);
  assert.equal(compared.code, 0, compared.stderr);
  const { metrics, won, lost } = JSON.parse(compared.stdout) as {
    metrics: Record<string, { difference: number; interval: { low: number; high: number } }>;
    won: { direction: string }[];
    lost: { direction: string }[];
  };
  for (const name of METRICS) {
    const { difference, interval } = metrics[name] ?? assert.fail(name);
    assert.equal(difference, b.metrics[name] - a.metrics[name]);
    assert.ok(interval.low <= interval.high, name);
  }
  // Recall at 1 is queries found first: the gain is what was won less what was lost.
  const net = (direction: string) =>
    won.filter((each) => each.direction === direction).length -
    lost.filter((each) => each.direction === direction).length;
  const gained = (100 * net('text_to_image')) / a.texts;
  assert.ok(Math.abs(gained - (metrics.img_r1?.difference ?? Number.NaN)) < 1e-9);
  const text = await runCli(['compare', tiny.path('evaluated'), tiny.path('trained')]);
  assert.match(text.stdout, /95 % interval/);
});

test('what is no run, or of other data, is refused with a sentence', async () => {
  const nothing = await runCli(['report', tiny.path('none')]);
  assert.equal(nothing.code, 1);
  assert.match(nothing.stderr, /^error: .*none is no folder\. Name the output folder of a run\.\n$/);
  mkdirSync(tiny.path('empty'));
  const empty = await runCli(['report', tiny.path('empty')]);
  assert.match(empty.stderr, /^error: .*empty has no insight_test\.json\. Name the output folder/);
  mkdirSync(tiny.path('broken'));
  writeFileSync(tiny.path('broken', 'insight_test.json'), '{"version": 1}');
  const broken = await runCli(['report', tiny.path('broken')]);
  assert.match(broken.stderr, /^error: .*insight_test\.json is no result of an evaluation\. Evaluate again\.\n$/);
  const path = tiny.path('broken', 'insight_test.json');
  writeFileSync(path, JSON.stringify({ ...insight('evaluated'), data: 'another' }));
  const other = await runCli(['compare', tiny.path('evaluated'), tiny.path('broken')]);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /were evaluated on different data/);
});
