// report.html of one run: the numbers, the curves, what was found, what was done.
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { at } from '../errors.js';
import { METRICS, type MetricName } from '../evaluation/bootstrap.js';
import { insightFile, type SplitInsight } from '../evaluation/insight.js';
import { counted, escapeHtml, quoteHtml, shortened } from '../logging/text.js';
import { runCurves } from './curves.js';
import { gallery, galleryImages } from './gallery.js';
import { htmlTable, page, percent } from './html.js';
import { lineChart } from './line-chart.js';
import { type Published, publishedRecalls } from './published-recalls.js';
import { type EpochLine, type EvaluatedRun, imageRootOf, type RunFiles, readRun } from './run-files.js';
import { Thumbnails } from './thumbnails.js';

export const REPORT_FILE = 'report.html';

/**
 * Writes report.html from the files in the output folder of a run, into that folder or to `path`; gives its path.
 * @throws UserError for a folder without a result or a log, or a page that cannot be written
 */
export async function writeReport(folder: string, path = join(folder, REPORT_FILE)): Promise<string> {
  const run = readRun(folder);
  const { test } = run;
  const thumbnails = new Thumbnails(test === undefined ? '' : imageRootOf(folder, test));
  if (test !== undefined) await thumbnails.make(galleryImages(test.examples));
  const html = test === undefined ? logsPage(run) : resultPage({ ...run, test }, thumbnails);
  await writeFileAtomically(path, (file) => file.write(Buffer.from(html)));
  return path;
}

export const NAMES: Readonly<Record<MetricName, string>> = {
  txt_r1: 'Caption found for an image, R@1',
  txt_r5: 'Caption, R@5',
  txt_r10: 'Caption, R@10',
  txt_r_mean: 'Caption, mean',
  img_r1: 'Image found for a caption, R@1',
  img_r5: 'Image, R@5',
  img_r10: 'Image, R@10',
  img_r_mean: 'Image, mean',
  r_mean: 'Mean of both',
};

/** The page of a run that has evaluated. */
function resultPage(run: EvaluatedRun, thumbnails: Thumbnails): string {
  const { test, val, facts } = run;
  const published = publishedRecalls(facts, test);
  const title = titleOf(run);
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    introduction(run),
    `<p class="muted">The test split: ${counted(test.images, 'image')} and ${counted(test.texts, 'caption')}. Every caption searches all images, and every image all captions.${whichEpoch(run)}</p>`,
    cards(run, published),
    recalls(test, run.before, published),
    val === undefined
      ? ''
      : `<details><summary>The val split: ${counted(val.images, 'image')}, ${counted(val.texts, 'caption')}</summary>${recalls(val, undefined, undefined)}</details>`,
    `<h2>What re-ranking does</h2>`,
    reranking(test),
    training(run),
    gallery(test.examples, thumbnails),
    `<p class="muted">Numbers below an answer: its score, the ITM logit of a match plus the similarity, which ranks; and the similarity, the cosine of the features (ITC).</p>`,
    done(run),
    imagesAndIntervals(test, thumbnails),
    configText(run),
  ];
  return page(title, body.filter((part) => part !== '').join('\n'));
}

/** The page of a run that has logs alone: training before its first evaluation, or one of the reference's. */
function logsPage(run: RunFiles): string {
  const title = titleOf(run);
  const last = run.epochs.at(-1);
  const why =
    last === undefined
      ? 'Nothing has been evaluated yet.'
      : `The recalls are those of log.txt. Intervals, ranks and the gallery are made from ${insightFile('test')}, which is not there: evaluate to get them.`;
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    introduction(run),
    `<p class="muted">${why}</p>`,
    last === undefined ? '' : epochTable(run.epochs, last),
    training(run),
    done(run),
    configText(run),
  ];
  return page(title, body.filter((part) => part !== '').join('\n'));
}

const titleOf = ({ facts, test, name }: RunFiles) =>
  facts?.words?.title ?? `${facts?.evaluated === false || test === undefined ? 'Training' : 'Evaluation'}: ${name}`;

function introduction({ facts }: RunFiles): string {
  const { introduction: text, command } = facts?.words ?? {};
  if (text === undefined) return '';
  return `<p>${escapeHtml(text)}${command === undefined ? '' : ` <code>${escapeHtml(command)}</code>`}</p>`;
}

function training(run: RunFiles): string {
  const curves = runCurves([run]);
  return curves === '' ? '' : `<h2>How it was trained</h2><div class="charts">${curves}</div>`;
}

/** The recalls of log.txt, which has those of test for the best epoch on val alone. */
function epochTable(epochs: readonly EpochLine[], last: EpochLine): string {
  const best = epochs.find(({ epoch }) => epoch === last.best_epoch);
  const named = ({ epoch }: EpochLine, which: string) => `epoch ${epoch + 1}, ${which}`;
  const isOther = best !== undefined && best !== last;
  const columns: readonly (readonly [title: string, of: (name: MetricName) => number])[] = [
    [best === undefined ? 'test' : `test, ${named(best, 'the best on val')}`, (name) => last[`test_${name}`]],
    ...(isOther ? [[`val, ${named(best, 'the best')}`, (name: MetricName) => best[`val_${name}`]] as const] : []),
    [`val, ${named(last, 'the last')}`, (name) => last[`val_${name}`]],
  ];
  const rows = METRICS.map((name) => [NAMES[name], ...columns.map(([, of]) => of(name).toFixed(2))]);
  return htmlTable('Recall by log.txt, in percent', ['', ...columns.map(([title]) => title)], rows);
}

/** Of which epoch the recalls of a training are, and which is the best one; empty for an evaluation. */
function whichEpoch({ facts, epochs, val }: EvaluatedRun): string {
  if (facts?.evaluated !== false || val === undefined) return '';
  const last = epochs.at(-1);
  // By the recalls of val: in log.txt those of test are of the best epoch.
  if (last === undefined || Math.abs(last.val_r_mean - val.metrics.r_mean) > 1e-6)
    return ' The recalls are those of an earlier evaluation in this folder: log.txt does not have them.';
  const best = epochs.find(({ epoch }) => epoch === last.best_epoch);
  const own = ` The recalls are those after epoch ${last.epoch + 1}`;
  if (best === undefined) return `${own}.`;
  if (best === last) return `${own}, the best on val so far.`;
  return `${own}. The best on val was epoch ${best.epoch + 1}, with a mean of ${percent(best.val_r_mean)} % against ${percent(last.val_r_mean)} %; its mean on test is ${percent(last.test_r_mean)} %.`;
}

function cards({ test, before }: EvaluatedRun, published: Published | undefined): string {
  const chance: Partial<Record<MetricName, number>> = {
    img_r1: at(test.chance.image, 0),
    txt_r1: at(test.chance.text, 0),
    img_r10: at(test.chance.image, 2),
    txt_r10: at(test.chance.text, 2),
  };
  const card = (name: MetricName, title: string) => {
    const { low, high } = test.intervals[name];
    const beside = [
      `95 % interval ${percent(low)} to ${percent(high)}`,
      before === undefined ? undefined : `before ${percent(before.metrics[name])}`,
      `chance ${percent(chance[name] ?? Number.NaN)}`,
      published === undefined ? undefined : `published ${percent(published.metrics[name] ?? Number.NaN)}`,
    ];
    return `<div class="card"><small>${title}</small><b data-metric="${name}">${percent(test.metrics[name])} %</b><small>${beside.filter((text) => text !== undefined).join('; ')}</small></div>`;
  };
  return `<div class="cards">${card('img_r1', 'Image found for a caption, R@1')}${card('txt_r1', 'Caption found for an image, R@1')}${card('img_r10', 'Image among the first ten, R@10')}${card('txt_r10', 'Caption among the first ten, R@10')}</div>`;
}

/** The chance of each recall; undefined for means, which need none. */
function chanceOf(insight: SplitInsight, name: MetricName): number | undefined {
  const place = ['r1', 'r5', 'r10'].indexOf(name.replace(/^(?:txt|img)_/, ''));
  if (place < 0) return undefined;
  return at(name.startsWith('txt') ? insight.chance.text : insight.chance.image, place);
}

function recalls(insight: SplitInsight, before: SplitInsight | undefined, published: Published | undefined): string {
  const head = ['', 're-ranked (ITM)', '95 % interval', 'similarity alone (ITC)', 'chance'];
  if (before !== undefined) head.push('before');
  if (published !== undefined) head.push(`published (${escapeHtml(published.source)})`);
  const cell = (value: number | undefined) => (value === undefined ? '' : value.toFixed(2));
  const rows = METRICS.map((name) => {
    const { low, high } = insight.intervals[name];
    const row = [
      NAMES[name],
      `<b data-metric="${quoteHtml(insight.split)}_${name}">${cell(insight.metrics[name])}</b>`,
      `${percent(low)}–${percent(high)}`,
      cell(insight.similarityMetrics[name]),
      cell(chanceOf(insight, name)),
    ];
    if (before !== undefined) row.push(cell(before.metrics[name]));
    if (published !== undefined) row.push(cell(published.metrics[name]));
    return row;
  });
  return htmlTable(`Recall on ${insight.split}, in percent`, head, rows);
}

function reranking(test: SplitInsight): string {
  const { ranks, similarityRanks, withoutCandidate, kTest, enough } = test;
  const rank = (of: SplitInsight['ranks']['text']) =>
    `${of.median} <span class="whole">(mean ${of.mean.toFixed(1)})</span>`;
  const rows = [
    ['Captions for an image', rank(similarityRanks.text), rank(ranks.text), `${withoutCandidate.text.toFixed(2)} %`],
    ['Images for a caption', rank(similarityRanks.image), rank(ranks.image), `${withoutCandidate.image.toFixed(2)} %`],
  ];
  const series = (['txt_r1', 'img_r1'] as const).map((name) => ({
    name: name === 'txt_r1' ? 'caption' : 'image',
    points: test.byK.map((row, i) => [i + 1, at(row, METRICS.indexOf(name))] as const),
  }));
  const chart = lineChart({
    title: 'Recall at 1 by the number of candidates that are re-ranked, %',
    xLabel: 'k_test',
    series,
    wholeX: true,
    ...(enough.k < kTest && { mark: { x: enough.k, name: `${enough.k} are enough` } }),
  });
  const notes = [
    enoughText(test),
    `<span class="muted">“No candidate” is the share of queries whose right answers are not among the ${kTest === 1 ? 'candidates, of which each query has one' : `${kTest} most similar`}: no re-ranking can find them.</span>`,
    kTest < 10 && kTest < Math.max(test.images, test.texts)
      ? `<span class="muted">With fewer than ten candidates, recalls at more than ${kTest} also count what was not re-ranked, in the order of its index, as the reference does: they say nothing about the model.</span>`
      : '',
  ];
  const text = notes.filter((note) => note !== '').map((note) => `<p>${note}</p>`);
  return `<div class="charts"><div>${chart ?? ''}</div><div>${htmlTable('Rank of the right answer: median, and mean', ['', 'by similarity', 're-ranked', 'no candidate'], rows)}
${text.join('\n')}</div></div>`;
}

/** What a smaller k_test would save. */
function enoughText({ kTest, enough, seconds }: SplitInsight): string {
  if (kTest === 1) return 'One candidate of each query was re-ranked: no smaller k_test is possible.';
  if (enough.k === kTest) return `No smaller k_test than ${kTest} stays within 0.1 of this run's mean recall.`;
  const near = `k_test ${enough.k} gives a mean recall within 0.1 of k_test ${kTest}`;
  const share = (100 * enough.workShare).toFixed(0);
  if (share === '100') return `${near}, but needs as much re-ranking.`;
  const saved = seconds.rerank * (1 - enough.workShare);
  return `${near}, with ${share} % of the re-ranking: about ${duration(saved)} of ${duration(seconds.rerank)} saved.`;
}

/** `1 h 4 min`, `3.2 s`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function done({ facts }: RunFiles): string {
  if (facts === undefined) return '';
  const rows: [string, string][] = [
    ['Command', `<code>${escapeHtml(facts.command)}</code>`],
    ['Checkpoint', escapeHtml(facts.checkpoint === '' ? 'random weights' : facts.checkpoint)],
    ['Config', escapeHtml(facts.config)],
    ['Model', `ViT ${escapeHtml(facts.vit)}, ${facts.image_size} pixels`],
    [
      'Device',
      `${escapeHtml(facts.device)}, ${escapeHtml(facts.processor)}; ${escapeHtml(facts.precision)}, ${counted(facts.ranks, 'process')}, ${counted(facts.threads, 'thread')}`,
    ],
    ['Seed', String(facts.seed)],
    [
      'Time',
      `${facts.seconds === null ? 'not finished' : duration(facts.seconds)}, begun ${escapeHtml(facts.started.replace('T', ' ').replace(/\.\d+Z$/, ' UTC'))}`,
    ],
    [
      'Versions',
      `blip-retrieval ${escapeHtml(facts.version)}, LibTorch ${escapeHtml(facts.libtorch)}, Node ${escapeHtml(facts.node)}`,
    ],
  ];
  return `<h2>What was done</h2>\n<dl>${rows.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl>`;
}

function imagesAndIntervals({ examples }: SplitInsight, { imageRoot, unread }: Thumbnails): string {
  const shown = new Set(galleryImages(examples)).size;
  const gone =
    unread === 0 ? '' : ` ${unread} of the ${shown} that are shown could not be read: they are shown by their names.`;
  return `<p class="muted">Images are in <code>${escapeHtml(imageRoot)}</code>.${gone} Intervals are those of 1,000 bootstrap samples over images.</p>`;
}

/** Characters of config.yaml that are shown. */
const MOST_CONFIG = 20_000;

function configText({ config }: RunFiles): string {
  if (config === undefined) return '';
  return `<details><summary>config.yaml</summary><pre tabindex="0"><code>${escapeHtml(shortened(config, MOST_CONFIG))}</code></pre></details>`;
}
