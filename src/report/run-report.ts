// report.html of one run: the numbers, the curves, what was found, what was done.
import { join } from 'node:path';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { at } from '../errors.js';
import { METRICS, type MetricName } from '../evaluation/bootstrap.js';
import type { SplitInsight } from '../evaluation/insight.js';
import { counted, escapeHtml } from '../logging/text.js';
import { runCurves } from './curves.js';
import { gallery, galleryImages } from './gallery.js';
import { htmlTable, page, percent } from './html.js';
import { lineChart } from './line-chart.js';
import { type Published, publishedRecalls } from './published-recalls.js';
import { type RunFiles, readRun } from './run-files.js';
import { Thumbnails } from './thumbnails.js';

export const REPORT_FILE = 'report.html';

/** What else a page may say at its top. */
export interface ReportWords {
  title?: string;
  /** HTML below the title. */
  introduction?: string;
}

/**
 * Writes report.html into the output folder of a run, from the files there; gives its path.
 * @throws UserError for a folder without a result, or one that cannot be written
 */
export async function writeReport(folder: string, words: ReportWords = {}): Promise<string> {
  const run = readRun(folder);
  const thumbnails = new Thumbnails(run.test.imageRoot);
  await thumbnails.make(galleryImages(run.test.examples));
  const path = join(folder, REPORT_FILE);
  const html = runPage(run, thumbnails, words);
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

function runPage(run: RunFiles, thumbnails: Thumbnails, words: ReportWords): string {
  const { test, val, facts } = run;
  const published = publishedRecalls(facts, test);
  const title = words.title ?? `${facts?.evaluated === false ? 'Training' : 'Evaluation'}: ${run.name}`;
  const curves = runCurves([run]);
  const body = [
    `<h1>${escapeHtml(title)}</h1>`,
    words.introduction ?? '',
    `<p class="muted">The test split: ${counted(test.images, 'image')} and ${counted(test.texts, 'caption')}. Every caption searches all images, and every image all captions.</p>`,
    cards(run, published),
    recalls(test, run.before, published),
    val === undefined
      ? ''
      : `<details><summary>The val split: ${counted(val.images, 'image')}, ${counted(val.texts, 'caption')}</summary>${recalls(val, undefined, undefined)}</details>`,
    `<h2>What re-ranking does</h2>`,
    reranking(test),
    curves === '' ? '' : `<h2>How it was trained</h2><div class="charts">${curves}</div>`,
    gallery(test.examples, thumbnails),
    `<p class="muted">Numbers below an answer: its score, the ITM logit of a match plus the similarity, which ranks; and the similarity, the cosine of the features (ITC).</p>`,
    done(run),
  ];
  return page(title, body.filter((part) => part !== '').join('\n'));
}

function cards({ test, before }: RunFiles, published: Published | undefined): string {
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
      `<b data-metric="${insight.split}_${name}">${cell(insight.metrics[name])}</b>`,
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
  const { ranks, similarityRanks, withoutCandidate, kTest, enough, seconds } = test;
  const rank = (of: SplitInsight['ranks']['text']) => `${of.median} (mean ${of.mean.toFixed(1)})`;
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
  const saved = seconds.rerank * (1 - enough.workShare);
  const sentence =
    enough.k === kTest
      ? `No smaller k_test than ${kTest} stays within 0.1 of this run's mean recall.`
      : `k_test ${enough.k} gives a mean recall within 0.1 of k_test ${kTest}, with ${(100 * enough.workShare).toFixed(0)} % of the re-ranking: about ${duration(saved)} of ${duration(seconds.rerank)} saved.`;
  return `<div class="charts"><div>${chart ?? ''}</div><div>${htmlTable('Rank of the right answer, median', ['', 'by similarity', 're-ranked', 'no candidate'], rows)}
<p>${sentence}</p><p class="muted">“No candidate” is the share of queries whose right answers are not among the ${kTest} most similar: no re-ranking can find them.</p></div></div>`;
}

/** `1 h 4 min`, `3.2 s`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function done({ facts, config, test }: RunFiles): string {
  const parts = ['<h2>What was done</h2>'];
  if (facts !== undefined) {
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
    parts.push(`<dl>${rows.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('')}</dl>`);
  }
  parts.push(
    `<p class="muted">Images are in <code>${escapeHtml(test.imageRoot)}</code>. Intervals are those of 1,000 bootstrap samples over images.</p>`,
  );
  if (config !== undefined)
    parts.push(
      `<details><summary>config.yaml</summary><pre tabindex="0"><code>${escapeHtml(config)}</code></pre></details>`,
    );
  return parts.join('\n');
}
