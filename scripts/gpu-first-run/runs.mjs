// Runs of the command line with the tiny model: evaluation, resume, bf16, SIGTERM.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '../../dist/torch/safetensors.js';
import { demand, failed, helper, jsonLines, lastLine, PartEnd, readText } from './context.mjs';

/** The config of the tiny model, written once. */
export async function tinyConfig(context) {
  context.found.tiny ??= context.path('tiny', 'train.yaml');
  if (!existsSync(context.found.tiny))
    demand(
      await context.node('weights of the tiny model', [helper('make-run.mjs'), 'tiny', context.path('tiny')]),
      'making them',
    );
  return context.found.tiny;
}

/** Runs the command line into an output folder of the name `output`. */
export async function cli(context, output, args, options) {
  const config = await tinyConfig(context);
  const all = ['dist/cli.js', '--config', config, '--output_dir', context.path(output), ...args];
  return context.node(`${output}: cli ${args.join(' ')}`.slice(0, 60), all, options);
}

const largest = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
/** What stands where a pair was not re-ranked. */
const NO_SCORE = -100;

function scoresOf(context, output) {
  const floats = ({ data }) => new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  return [...readSafetensors(context.path(output, 'scores_test.safetensors')).values()].map(floats);
}

export async function evaluateEach(context) {
  const recalls = {};
  const problems = [];
  let opened = false;
  const watch = (pid) => {
    opened ||= readText(`/proc/${pid}/maps`).includes('libtorch_cuda');
  };
  for (const name of ['cpu', 'fp32', 'tf32', 'bf16']) {
    const device = name === 'cpu' ? ['--device', 'cpu'] : ['--device', 'cuda', '--precision', name];
    const args = [...device, '--evaluate', '--quiet', '--save_scores'];
    const result = await cli(context, `evaluate-${name}`, args, name === 'cpu' ? { watch } : {});
    if (result.code !== 0) problems.push(`${name}: ${lastLine(result)}`);
    else recalls[name] = readText(context.path(`evaluate-${name}`, 'evaluate.txt'));
  }
  context.figure('--device cpu opens libtorch_cuda', opened, { expected: 'false, else finding 4', ok: !opened });
  if (problems.length > 0) throw failed(problems.join('; '));
  const cpu = scoresOf(context, 'evaluate-cpu');
  for (const [name, most] of [
    ['fp32', 1e-3],
    ['tf32', 5e-2],
    ['bf16', 0.3],
  ]) {
    // Where another candidate comes into the top k, one of the two has no score.
    const pairs = scoresOf(context, `evaluate-${name}`).flatMap((scores, matrix) =>
      Array.from(scores, (score, i) => [score, cpu[matrix][i]]),
    );
    const both = pairs.filter(([a, b]) => a !== NO_SCORE && b !== NO_SCORE);
    const others = pairs.filter(([a, b]) => (a === NO_SCORE) !== (b === NO_SCORE)).length;
    const difference = both.reduce((worst, [a, b]) => Math.max(worst, Math.abs(a - b)), 0);
    const unit = others > 0 ? `over ${both.length} scores; ${others} re-ranked by one only` : '';
    context.figure(`scores of ${name} beside the CPU's`, difference, {
      unit,
      expected: `< ${most}`,
      ok: difference < most,
    });
  }
  if (recalls.fp32 !== recalls.cpu)
    throw failed("recalls in fp32 are not the CPU's (on a near tie they may be: see the scores)");
  const others = ['tf32', 'bf16'].filter((name) => recalls[name] !== recalls.cpu);
  return `recalls in fp32 are the CPU's${others.length > 0 ? `; ${others.join(' and ')} differ, as they may` : ', in tf32 and bf16 too'}`;
}

export async function resumeExactly(context) {
  const one = ['--device', 'cuda', '--set', 'max_epoch=1', '--log_every', '1'];
  demand(await cli(context, 'whole-run', one), 'a run without a stop');
  demand(await cli(context, 'stopped', [...one, '--max_steps', '5']), 'a run of 5 steps');
  demand(await cli(context, 'stopped', [...one, '--resume']), 'its resumption');
  const read = (name) => ['whole-run', 'stopped'].map((output) => readFileSync(context.path(output, name)));
  const [a, b] = read('checkpoint_last.pth');
  if (a.equals(b)) return 'a resumed run ends bit-equal';
  const losses = read('metrics.jsonl').map((text) =>
    jsonLines(text.toString()).flatMap(({ loss_itm, loss_ita }) => [loss_itm, loss_ita]),
  );
  const difference = largest(losses[0], losses[1]);
  context.figure('losses of the resumed run differ by', difference, { expected: '< 1e-2', ok: difference < 1e-2 });
  if (losses[0].length !== losses[1].length || !(difference < 1e-2)) throw failed('the resumed run is another one');
  throw new PartEnd('expected', 'not bit-equal: kernels of a backward pass add in no fixed order');
}

export async function trainBf16(context) {
  demand(
    await cli(context, 'bf16-run', [
      '--device',
      'cuda',
      '--precision',
      'bf16',
      '--set',
      'max_epoch=1',
      '--log_every',
      '1',
    ]),
    'training',
  );
  const steps = jsonLines(readText(context.path('bf16-run', 'metrics.jsonl')));
  const areFinite = steps.every(({ loss_itm, loss_ita }) => Number.isFinite(loss_itm) && Number.isFinite(loss_ita));
  if (steps.length === 0 || !areFinite) throw failed(`${steps.length} steps, some losses are not finite`);
  return `${steps.length} steps, the last losses ${steps.at(-1).loss_itm.toFixed(3)} and ${steps.at(-1).loss_ita.toFixed(3)}`;
}

export async function sigterm(context) {
  let sent = 0;
  const watch = (pid, text) => {
    if (sent !== 0 || !text.includes('Train Epoch: [1]')) return;
    sent = performance.now();
    process.kill(pid, 'SIGTERM');
  };
  const result = await cli(context, 'sigterm', ['--device', 'cuda', '--set', 'max_epoch=500'], { watch });
  const seconds = (performance.now() - sent) / 1000;
  if (sent === 0) throw failed(`training did not come to its second epoch: ${lastLine(result)}`);
  const isSaved = existsSync(join(context.path('sigterm'), 'checkpoint_last.pth'));
  if (result.code !== 143 || !isSaved)
    throw failed(`${isSaved ? 'saved' : 'not saved'}; ${lastLine(result)} (143 wanted)`);
  return `saved, exit 143 after ${seconds.toFixed(1)} s`;
}
