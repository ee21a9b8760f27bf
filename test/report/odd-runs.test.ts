// Reports and comparisons of what people really have in their folders: odd captions and pictures, logs of several trainings, of
// the reference, or cut short, few candidates, files that do not fit, many runs. Results are those of one tiny run, changed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import sharp from 'sharp';
import { UserError } from '#blip/errors.js';
import { METRICS } from '#blip/evaluation/bootstrap.js';
import type { SplitInsight } from '#blip/evaluation/insight.js';
import { compareRuns, signed, writeSeveralReport } from '#blip/report/comparison.js';
import { publishedRecalls } from '#blip/report/published-recalls.js';
import { readRun } from '#blip/report/run-files.js';
import { writeReport } from '#blip/report/run-report.js';
import { projectRoot } from '../helpers/fixtures.js';
import { runCli } from '../helpers/run-cli.js';
import { tinyData } from '../helpers/tiny-run.js';
import { base, epochLine, evaluateTiny, FACTS, folderOf, insightOf, logsOf, stepLine, tiny } from './odd-folders.js';

const found = spawnSync(process.execPath, [join(projectRoot, 'scripts/chromium.mjs')], { encoding: 'utf8' });
const skip = found.status === 0 ? false : found.stdout.trim();
let browser: Browser | undefined;

before(async () => {
  await evaluateTiny();
  if (!skip) browser = await chromium.launch({ executablePath: found.stdout.trim(), args: ['--no-sandbox'] });
});
after(() => browser?.close());

const pageOf = async (folder: string) => readFileSync(await writeReport(folder), 'utf8');

async function open(path: string, width: number, use: (page: Page) => Promise<void>): Promise<void> {
  if (browser === undefined) throw new Error('There is no browser.');
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: 'dark' });
  try {
    await page.goto(pathToFileURL(path).href);
    await use(page);
  } finally {
    await page.close();
  }
}

/** A line of log.txt as the reference writes it: all recalls are `recall`. */
test('captions and names of any length and direction stay on the page, and are no HTML', { skip }, async () => {
  const hostile = ['w'.repeat(3000), '<script>alert(1)</script>', 'مرحبا (123)', ''];
  const folder = folderOf('odd words', ({ examples }) => {
    for (const [i, example] of [...examples.captions, ...examples.images].entries()) {
      const word = (j: number) => hostile[(i + j) % hostile.length] ?? '';
      Object.assign(example, { query: word(0), right: [word(1), word(2)] });
      for (const [j, answer] of example.found.entries()) Object.assign(answer, { name: word(j), score: -0.001 });
    }
  });
  const html = await pageOf(folder);
  assert.doesNotMatch(html, /<script/);
  assert.match(html, /<small>0\.00 \(similarity/);
  assert.match(html, /<bdi>مرحبا \(123\)<\/bdi>/);
  for (const width of [360, 768, 1400])
    await open(join(folder, 'report.html'), width, async (page) => {
      await page.evaluate('document.querySelectorAll("details").forEach((each) => { each.open = true; })');
      assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${width}`);
      const cut = 'parts.some((part) => part.getBoundingClientRect().right > innerWidth + 1)';
      const parts = '[...document.querySelectorAll("p, li, dd, svg")]';
      assert.equal(await page.evaluate(`((parts) => ${cut})(${parts})`), false, `${width}`);
      if (width < 1400) return;
      const scrolling = '[...document.querySelectorAll(".wide")].filter((e) => e.scrollWidth > e.clientWidth).length';
      assert.equal(await page.evaluate(scrolling), 0, 'every table is whole on a large screen');
    });
});

test('on paper the page is dark on white, and nothing is folded away', { skip }, () =>
  open(tiny.path('k8', 'report.html'), 800, async (page) => {
    const colour = 'getComputedStyle(document.body).color';
    const folded = page.locator('details table, details img').first();
    assert.equal(await folded.isVisible(), false);
    assert.equal(await page.evaluate(colour), 'rgb(230, 233, 239)');
    await page.emulateMedia({ media: 'print' });
    await folded.waitFor({ state: 'visible' }); // it is laid out with the next frame
    assert.equal(await page.evaluate(colour), 'rgb(29, 35, 48)');
  }),
);

test('a page has less than 2 MB whatever it shows', async () => {
  const images = tiny.path('noise');
  mkdirSync(images);
  const noise = Buffer.alloc(512 * 512 * 3);
  for (let i = 0, state = 1; i < noise.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    noise[i] = state >>> 16;
  }
  await sharp(noise, { raw: { width: 512, height: 512, channels: 3 } })
    .png()
    .toFile(join(images, 'noise.png'));
  const folder = folderOf('much', (insight) => {
    insight.imageRoot = images;
    const [first] = insight.examples.captions;
    assert.ok(first);
    const [answer] = first.found;
    assert.ok(answer);
    const word = '"'.repeat(5000);
    const [captions, names] = [
      Array.from({ length: 5 }, () => ({ ...answer, name: word, isRight: false })),
      Array.from({ length: 5 }, () => ({ ...answer, name: 'noise.png', isRight: false })),
    ];
    insight.examples = {
      captions: Array.from({ length: 12 }, () => ({ ...first, query: word, right: ['noise.png'], found: names })),
      images: Array.from({ length: 12 }, () => ({
        ...first,
        ...{ query: 'noise.png', right: Array.from({ length: 40 }, () => word), found: captions },
      })),
    };
  });
  const html = await pageOf(folder);
  assert.ok(html.length < 2e6, `${html.length}`);
  assert.equal(html.split('<img ').length - 1, 84, 'no picture is left out for it');
});

test('many runs: every line has a colour, and every name is read whole', { skip }, async () => {
  const folders = ['base', 'a rather long name of a run that says all of its settings', 'c', 'd', 'e', 'f', 'g'].map(
    (name, i) => folderOf(name, () => {}, { 'log.txt': [1, 2, 3].map((e) => epochLine(e, e, 10 * e + i)).join('') }),
  );
  const path = tiny.path('many.html');
  await writeSeveralReport(folders, path);
  await open(path, 1400, async (page) => {
    const strokes =
      '[...document.querySelectorAll("polyline")].map((line) => getComputedStyle(line)).map((s) => s.stroke + s.strokeDasharray)';
    const all = (await page.evaluate(strokes)) as string[];
    assert.ok(all.length > 0 && !all.some((stroke) => stroke.startsWith('none')));
    assert.equal(new Set(all).size, folders.length, 'and none looks like another');
    const cut =
      '[...document.querySelectorAll("svg text")].filter((text) => text.getBoundingClientRect().left < text.closest("svg").getBoundingClientRect().left).length';
    assert.equal(await page.evaluate(cut), 0);
    assert.match((await page.locator('.legend').first().textContent()) ?? '', /says all of its settings 31\.0/);
  });
});

test('a run has one colour in all charts, and no name stands where its line does not end', async () => {
  const logs = { 'log.txt': epochLine(0, 0, 1) + epochLine(1, 1, 2) };
  const short = [0, 1].map((step) => stepLine(0, step)).join('');
  const long = [0, 1, 2, 3].flatMap((epoch) => [0, 1].map((step) => stepLine(epoch, step))).join('');
  const folders = [
    folderOf('without steps', () => {}, logs),
    folderOf('short', () => {}, { ...logs, 'metrics.jsonl': short }),
    folderOf('long', () => {}, { ...logs, 'metrics.jsonl': long }),
  ];
  const path = tiny.path('colours.html');
  await writeSeveralReport(folders, path);
  const [, rates = ''] = readFileSync(path, 'utf8').split('<figcaption>Learning rate');
  const [chart = ''] = rates.split('</figure>');
  assert.deepEqual(
    Array.from(chart.matchAll(/<polyline class="(\w+)"[^>]*\/><\/svg><bdi>(\w+) /g), ([, line, name]) => [line, name]),
    [
      ['s1', 'short'],
      ['s2', 'long'],
    ],
  );
  assert.doesNotMatch(chart, /halo/);
});

test('with fewer than ten candidates intervals are those of the recalls that evaluate.txt counts', async () => {
  const { metrics, intervals, countedRanks } = insightOf('k1');
  assert.ok(countedRanks !== undefined);
  for (const name of METRICS)
    assert.ok(intervals[name].low <= metrics[name] && metrics[name] <= intervals[name].high, name);
  const share = countedRanks.textToImage.filter((rank) => rank !== null && rank <= 10).length;
  assert.equal((100 * share) / countedRanks.textToImage.length, metrics.img_r10);
  const compared = compareRuns(readRun(tiny.path('k8')), readRun(tiny.path('k1')), 'test');
  assert.deepEqual(compared.kTest, { a: 8, b: 1 });
  const { difference, interval } = compared.metrics.img_r10;
  assert.ok(interval.low <= difference && difference <= interval.high);
  const html = await pageOf(tiny.path('k1'));
  assert.match(html, /no smaller k_test is possible/);
  assert.match(html, /With fewer than ten candidates, recalls at more than 1 also count what was not re-ranked/);
});

test('results whose parts do not fit are refused with a sentence, not as a defect', async () => {
  const changes: Record<string, (insight: SplitInsight) => void> = {
    'a rank is missing': ({ queryRanks }) => queryRanks.imageToText.pop(),
    'a rank is 0': ({ queryRanks }) => queryRanks.textToImage.splice(0, 1, 0),
    'an image does not exist': ({ imageOfText }) => imageOfText.splice(0, 1, 5000),
    'a row of the curve is short': ({ byK }) => byK[0]?.pop(),
    'there is no curve': (insight) => {
      insight.byK = [];
    },
    'enough is more than all': ({ enough }) => {
      enough.k = 99;
    },
    'a caption is missing': ({ captions }) => captions?.pop(),
    'a gallery without end': ({ examples }) => {
      examples.captions = Array.from({ length: 500 }, () => examples.captions[0] ?? assert.fail());
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    const folder = folderOf(name, change);
    await assert.rejects(writeReport(folder), (error) => {
      assert.ok(error instanceof UserError, name);
      assert.match(error.message, /insight_test\.json is no result of an evaluation\. Evaluate again\.$/);
      return true;
    });
    assert.throws(() => compareRuns(readRun(tiny.path('k8')), readRun(folder), 'test'), UserError);
  }
  assert.doesNotMatch(
    await pageOf(folderOf('split', (insight) => Object.assign(insight, { split: '"><script>' }))),
    /<script/,
  );
});

test('a line that a killed run left half written costs that line, not the curves', async () => {
  const steps = [0, 1, 2].map((step) => stepLine(0, step)).join('');
  const folder = folderOf('half', () => {}, {
    'metrics.jsonl': `${steps}{"epoch": 0, "st`,
    'log.txt': `${epochLine(0, 0, 10)}${epochLine(1, 1, 20)}{"train_lr"`,
  });
  const { steps: read, epochs } = readRun(folder);
  assert.equal(read.length, 3);
  assert.equal(epochs.length, 2);
  assert.match(await pageOf(folder), /<figcaption>Contrastive loss \(ITA\)/);
});

test('of several trainings in one folder the curves are those of the last', () => {
  const folder = folderOf('twice', () => {}, {
    'metrics.jsonl': [0, 1, 2, 0, 1].map((step) => stepLine(0, step)).join(''),
    'log.txt': [0, 1, 2, 0, 1].map((epoch, i) => epochLine(epoch, 0, i)).join(''),
  });
  const { steps, epochs } = readRun(folder);
  assert.deepEqual(
    steps.map(({ step }) => step),
    [0, 1],
  );
  assert.deepEqual(
    epochs.map((line) => line.val_r_mean),
    [3, 4],
  );
});

test('a training says of which epoch its recalls are', async () => {
  // The recalls of test in log.txt are those of the best epoch.
  const training = await tiny.run('trained');
  assert.equal(training.code, 0, training.stderr);
  const [first, last] = readRun(tiny.path('trained')).epochs;
  assert.ok(first !== undefined && last !== undefined);
  const page = (best: number, lines: object[]) => {
    const logged = lines.map((line, epoch) => JSON.stringify({ ...line, epoch, best_epoch: best }));
    writeFileSync(tiny.path('trained', 'log.txt'), `${logged.join('\n')}\n`);
    return pageOf(tiny.path('trained'));
  };
  assert.match(await page(1, [first, last]), /those after epoch 2, the best on val so far\./);
  const before = page(0, [
    { ...first, val_r_mean: 90 },
    { ...last, test_r_mean: 80 },
  ]);
  const [mean, words] = [
    last.val_r_mean.toFixed(1),
    'those after epoch 2\\. The best on val was epoch 1, with a mean of 90\\.0 %',
  ];
  assert.match(await before, new RegExp(`${words} against ${mean} %; its mean on test is 80\\.0 %\\.`));
  assert.match(await page(1, [first, { ...last, val_r_mean: 7 }]), /those of an earlier evaluation in this folder/);
});

test('logs alone make a page: of the reference, and of training that has not evaluated', async () => {
  const reference = logsOf('reference', { 'log.txt': epochLine(0, 0, 61.25) + epochLine(1, 0, 60.5) });
  const html = await pageOf(reference);
  assert.match(html, /test, epoch 1, the best on val<.*val, epoch 1, the best<.*val, epoch 2, the last</);
  assert.match(html, /<td>60\.50<\/td><td>61\.25<\/td><td>60\.50<\/td>/);
  assert.match(html, /<figcaption>Contrastive loss \(ITA\)/);
  const withNan = logsOf('nan', { 'log.txt': epochLine(0, 0, 60).replace('"0.613"', '"nan"') });
  assert.equal(readRun(withNan).epochs.length, 1, 'a loss that was no number costs no recalls');
  const both = tiny.path('with-reference.html');
  await writeSeveralReport([tiny.path('k8'), reference], both);
  assert.match(readFileSync(both, 'utf8'), /Only the logs are there of <bdi>reference<\/bdi>/);
  assert.throws(() => compareRuns(readRun(reference), readRun(tiny.path('k8')), 'test'), /has no result of test/);

  const stopped = await tiny.run('stopped', '--log_every', '1', '--max_steps', '3');
  assert.equal(stopped.code, 0, stopped.stderr);
  const page = tiny.read('stopped', 'report.html').toString();
  assert.match(page, /Nothing has been evaluated yet/);
  assert.match(page, /<figcaption>Matching loss \(ITM\)/);
});

test('the page of one run goes where --output says', async () => {
  const path = tiny.path('elsewhere.html');
  const { code, stdout, stderr } = await runCli(['report', tiny.path('k8'), '-o', path]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim(), path);
  assert.match(readFileSync(path, 'utf8'), /<h1>Evaluation: k8<\/h1>/);
});

test('a folder that is moved with its images shows them; where they have gone, the page says how many', async () => {
  const [from, to] = [tiny.path('here'), tiny.path('there')];
  cpSync(join(tinyData, 'images'), join(from, 'images'), { recursive: true });
  const run = await tiny.run('here', '--evaluate', '--set', `image_root=${join(from, 'images')}`);
  assert.equal(run.code, 0, run.stderr);
  renameSync(from, to);
  const html = await pageOf(to);
  assert.doesNotMatch(html, /class="gone"/);
  rmSync(join(to, 'images'), { recursive: true });
  const path = await writeReport(to);
  if (!skip)
    await open(path, 400, async (page) => {
      await page.evaluate(
        'document.querySelector(".gone bdi").textContent = "x".repeat(200)', // a name without a place to break
      );
      const fits =
        '(([name, tile]) => name.width <= tile.width)([...document.querySelectorAll(".gone bdi, .gone")].slice(0, 2).map((e) => e.getBoundingClientRect()).reverse())';
      assert.equal(await page.evaluate(fits), true);
    });
  assert.match(await pageOf(to), /(\d+) of the \1 that are shown could not be read: they are shown by their names\./);
});

test('compare names the queries that were won and lost, and says in what data differ', async () => {
  const other = folderOf('other', ({ queryRanks }) => {
    for (const ranks of Object.values(queryRanks))
      for (const [i, rank] of ranks.entries()) ranks[i] = rank === 1 ? 4 : rank === 2 ? 1 : rank;
  });
  const compared = await runCli(['compare', tiny.path('k8'), other]);
  assert.equal(compared.code, 0, compared.stderr);
  const { won, lost } = compareRuns(readRun(tiny.path('k8')), readRun(other), 'test');
  assert.ok(won.length > 0 && lost.length > 0);
  for (const { direction, id, query } of [...won, ...lost].slice(0, 3)) {
    assert.equal(query, (direction === 'image_to_text' ? base.imageNames : base.captions)?.[id]);
    assert.ok(compared.stdout.includes(`${id} (${query}): rank`), query);
  }
  const page = tiny.path('moved.html');
  await writeSeveralReport([tiny.path('k8'), other], page);
  assert.ok(readFileSync(page, 'utf8').includes(`<bdi>${won[0]?.query}</bdi>: rank 2, now 1`));

  const refusal = (name: string, change: (insight: SplitInsight) => void) => {
    const folder = folderOf(name, (insight) => {
      insight.data = 'other';
      change(insight);
    });
    return () => compareRuns(readRun(tiny.path('k8')), readRun(folder), 'test');
  };
  assert.throws(
    refusal('reversed', ({ captions, imageNames }) => [captions, imageNames].map((names) => names?.reverse())),
    /test: the same \d+ images and \d+ captions, in another order\)/,
  );
  assert.throws(
    refusal('reworded', ({ captions }) => captions?.splice(0, 1, 'new')),
    /captions, but not the same ones\)/,
  );
});

test('the command that a run keeps starts the program again in a shell', () => {
  const { facts } = readRun(tiny.path('k8'));
  const shell = spawnSync('sh', ['-c', `${facts?.command} --help`], { encoding: 'utf8' });
  assert.equal(shell.status, 0, shell.stderr);
  assert.match(shell.stdout, /Usage: blip-retrieval/);
});

test('published recalls stand beside the published test split alone, and a difference of nothing has no sign', () => {
  const sized = (images: number, texts: number) => publishedRecalls(FACTS, { ...base, images, texts });
  assert.equal(sized(5000, 25010)?.metrics.img_r1, 64.3);
  assert.equal(sized(5000, 5000), undefined);
  assert.equal(publishedRecalls({ ...FACTS, dataset: 'constructor' }, base), undefined);
  assert.deepEqual([0, -0.001, 1.2, -0.4].map(signed), ['0.00', '0.00', '+1.20', '−0.40']);
});
