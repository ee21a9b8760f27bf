// Speed: base size alone, waits, the whole evaluation, beside the reference, and how cost grows.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { demand, failed, helper, jsonLines, lastLine, PartEnd, readText, root, skipped } from './context.mjs';
import { buildSyncDebug } from './sync-debug.mjs';

/** Pairs of COCO's test split: (5,000 + 25,010) · 256. */
const COCO_PAIRS = 30_010 * 256;
const COCO_IMAGES = 5_000;
const flags = (context) => (context.small ? ['--small'] : []);
const checkpointOf = (context) => context.path('bench', 'drawn.pth');

export async function benchBase(context) {
  const notes = [];
  for (const precision of ['bf16', 'fp32', 'tf32']) {
    if (context.partLeft < 10) {
      notes.push(`${precision}: no time was left`);
      continue;
    }
    const result = await context.node(`bench ${precision}`, [
      helper('bench.mjs'),
      checkpointOf(context),
      precision,
      ...flags(context),
    ]);
    const found = Object.assign({}, ...jsonLines(result.text));
    context.found.bench = { ...context.found.bench, [precision]: found };
    const digits = (value) => (value === undefined ? 'no' : Number(value.toPrecision(3)));
    const speed = `${digits(found.pairs_per_second)} pairs a second, ${digits(found.step_ms)} ms a training step of ${found.batch}`;
    const rest = `${digits(found.feature_ms)} ms for an image's features, ${digits(found.training_gib)} GiB in training`;
    context.figure(precision, `${speed}, ${rest}`, { key: true });
    const ahead = found.first_pairs_per_second / found.pairs_per_second;
    context.figure(`${precision}: the first evaluation's speed by the second's`, ahead, {
      expected: '> 0.3, else kernels or plans are made anew (finding 1)',
      ok: ahead > 0.3,
    });
    if (result.code !== 0) notes.push(`${precision}: ${lastLine(result)}`);
  }
  const [bf16, fp32] = ['bf16', 'fp32'].map((precision) => context.found.bench?.[precision]?.pairs_per_second);
  if (bf16 && fp32)
    context.figure('pairs a second, bf16 over fp32', bf16 / fp32, {
      expected: '> 1.5, else findings 1 and 2',
      ok: bf16 / fp32 > 1.5,
      key: true,
    });
  if (notes.length > 0) throw failed(notes.join('; '));
  return 'bf16, fp32 and tf32 are measured';
}

export async function countWaits(context) {
  if (!buildSyncDebug(root, join(root, '.build/sync_debug.node')))
    throw skipped('sync_debug.node is not there, and there is no C compiler (cc) to build it');
  const result = await context.node('waits', [helper('waits.mjs'), context.path('waits')]);
  if (result.code === 4) throw skipped('this LibTorch does not count its waits');
  demand(result, 'counting');
  const counts = { rerank: [], train: [] };
  for (const [, name, units, lines] of result.text.matchAll(/^mark (rerank|train) (\d+)\n([\s\S]*?)^mark end/gm))
    counts[name].push([Number(units), lines.split('called a synchronizing CUDA operation').length - 1]);
  const each = (name) => {
    const [, [fewer, before], [more, after]] = counts[name]; // the first was to get started
    return (after - before) / (more - fewer);
  };
  // Each image is re-ranked twice: with its candidates among the texts, and for the texts whose candidate it is.
  const [image, step] = [each('rerank') / 2, each('train')];
  context.figure('waits in the re-ranking of an image', image, {
    expected: 'at most 1, else finding 2',
    ok: image <= 1.01,
    key: true,
  });
  context.figure('waits in a training step whose losses are logged', step, {
    expected: 'at most 2 (3 with both losses read), else findings 2 and 11',
    ok: step <= 3.01,
    key: true,
  });
  return `${image.toFixed(2)} an image, ${step.toFixed(2)} a step`;
}

export async function wholeEvaluation(context) {
  const checkpoint = checkpointOf(context);
  if (!existsSync(checkpoint)) throw skipped('it needs the weights that the part bench draws: run both');
  const folder = context.path('coco');
  const made = demand(
    await context.node('whole, data', [helper('make-run.mjs'), 'coco', folder, checkpoint, ...flags(context)]),
    'its data',
  );
  const config = made.text.trim().split('\n').at(-1);
  const notes = [];
  for (const precision of ['bf16', 'tf32', 'fp32']) {
    const { pairs_per_second: pairs, feature_ms: featureMs = 5 } = context.found.bench?.[precision] ?? {};
    const about = context.small || !pairs ? 5 : COCO_PAIRS / pairs + (COCO_IMAGES * featureMs) / 1000 + 30;
    if (about > context.partLeft) {
      notes.push(`${precision} would take about ${Math.round(about)} s`);
      continue;
    }
    const started = performance.now();
    const args = [
      'dist/cli.js',
      '--config',
      config,
      '--output_dir',
      context.path(`whole-${precision}`),
      '--device',
      'cuda',
      '--precision',
      precision,
      '--evaluate',
    ];
    const result = await context.node(`whole ${precision}`, args, { env: { UV_THREADPOOL_SIZE: '16' } });
    if (result.code !== 0) throw failed(`${precision}: ${lastLine(result)}`);
    const time = [...result.text.matchAll(/^Evaluation time (\S+)/gm)].at(-1)?.[1];
    context.figure(
      `${context.small ? 24 : '5,000'} images, ${context.small ? 120 : '25,010'} captions, ${precision}`,
      (performance.now() - started) / 1000,
      {
        unit: `s in all, evaluation ${time}`,
        key: true,
      },
    );
    if (readText(context.path(`whole-${precision}`, 'evaluate.txt')) === '')
      throw failed(`${precision}: no evaluate.txt`);
    notes.push(`${precision} ${time}`);
  }
  if (context.figures.length === 0) throw skipped(notes.join('; '));
  return notes.join('; ');
}

export async function benchReference(context) {
  const reference = join(root, 'reference/BLIP');
  if (!existsSync(reference))
    throw skipped('no reference was packed: BLIP_REFERENCE=CHECKOUT scripts/gpu-first-run.sh pack');
  const env = { PYTHONPATH: join(root, 'reference/site') };
  const checkpoint = checkpointOf(context);
  const weights = existsSync(checkpoint) ? ['--pretrained', checkpoint] : [];
  const sizes = context.small ? ['--vit', 'tiny', '--image_size', '96', '--queue_size', '64'] : [];
  const [images, batch] = context.small ? [8, 4] : [32, 32];
  const problems = [];
  for (const precision of ['fp32', 'bf16', 'tf32'])
    for (const [work, ...more] of [
      ['rerank', '--images', images, '--k', images, '--rounds', 2],
      ['train', '--batch', batch, '--steps', 4, '--rounds', 2],
    ]) {
      if (context.partLeft < 20) continue;
      const setting = ['--reference', reference, '--device', 'cuda', '--precision', precision, ...weights, ...sizes];
      const args = ['dist/cli.js', 'bench', work, ...setting, ...more.map(String)];
      const result = await context.node(`reference, ${work} ${precision}`, args, { env });
      const row = work === 'rerank' ? /^.*pairs a second, best.*$/m : /^.*seconds a step, best.*$/m;
      const found = row.exec(result.text)?.[0].match(/[\d.]+(e[+-]?\d+)?/g);
      if (result.code !== 0 || found?.length !== 3) problems.push(`${work} ${precision}: ${lastLine(result)}`);
      else
        context.figure(`${work} ${precision}, this program and the reference`, `${found[0]} and ${found[1]}`, {
          unit: work === 'rerank' ? 'pairs a second' : 's a step',
        });
    }
  if (problems.length > 0) throw failed(problems.join('; '));
  return 'both programs in one run';
}

export async function benchScaling(context) {
  const checkpoint = checkpointOf(context);
  const weights = existsSync(checkpoint) ? ['--pretrained', checkpoint] : [];
  const sizes = context.small
    ? ['--vit', 'tiny', '--image_size', '96', '--queue_size', '64', '--images', '32', '--k', '8']
    : ['--images', '256', '--k', '64'];
  const args = ['dist/cli.js', 'bench', 'scaling', '--device', 'cuda', '--precision', 'bf16', ...weights, ...sizes];
  const result = await context.node('scaling', args);
  if (result.timedOut) throw new PartEnd('skipped', 'its time was up; log.txt has what was measured');
  demand(result, 'bench scaling');
  return 'the tables are in log.txt';
}
