// `bench` without a reference: how fast this program is on this machine, weights drawn here.
import type { z } from 'zod';
import { formatBytes } from '../disk/space.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { get } from '../errors.js';
import { freeHostMemory } from '../torch/device-memory.js';
import { estimatedTrainingBytes } from '../training/memory.js';
import { architectureFor } from './drawn-weights.js';
import { begin, type ModelOptions, say, startOwn } from './harness.js';
import { type Commands, type Measure, Measured, measures, Timed, Trained } from './protocol.js';
import { peakMemory, quantile, summary } from './statistics.js';
import { drawCaptions, drawInputs } from './workload.js';

export interface MachineOptions extends Omit<ModelOptions, 'batch'> {
  /** Images at a time in the vision encoder. */
  batch: number;
  /** Images of a training step. */
  train_batch: number;
  vit_ckpt_layer: number;
  /** Texts that an image is matched with. */
  texts: number;
  /** Of each measurement, warm-up apart. */
  seconds: number;
}

export type MachineReport = Awaited<ReturnType<typeof benchMachine>>;
export type Rate = ReturnType<typeof rateOf>;
export type Latency = ReturnType<typeof latencyOf>;

/** Repetitions that are measured however slow the machine is. */
const LEAST = { rate: 3, latency: 10, step: 2 };
/** The first step makes the optimizer's state, the second still lets the heap grow. */
const WARM_UP_STEPS = 2;

/** A rate over repetitions of `units` each: per second at their median, and in the slowest and the fastest of them. */
function rateOf(units: number, seconds: readonly number[], cpu: number) {
  const perSecond = (of: number) => units / of;
  return {
    units,
    repetitions: seconds.length,
    per_second: perSecond(summary(seconds).median),
    slowest: perSecond(Math.max(...seconds)),
    fastest: perSecond(Math.min(...seconds)),
    wall_seconds: seconds.reduce((sum, one) => sum + one, 0),
    cpu_seconds: cpu,
  };
}

/** Seconds that half of the queries and 95 % of them need at most. */
function latencyOf(seconds: readonly number[], cpu: number) {
  return {
    repetitions: seconds.length,
    p50: quantile(seconds, 0.5),
    p95: quantile(seconds, 0.95),
    wall_seconds: seconds.reduce((sum, one) => sum + one, 0),
    cpu_seconds: cpu,
  };
}

type Load = Omit<Commands['load'], 'checkpoint'> & { checkpoint?: string };

/** Steps of training; or why there are none. */
async function measureTraining(options: MachineOptions, load: Load, folder: string) {
  const { train_batch: batch, vit_ckpt_layer, device, seconds, threads, precision } = options;
  const sizes = {
    architecture: architectureFor(options),
    precision,
    checkpointedBlocks: vit_ckpt_layer,
    device,
    ranks: 1,
  };
  const free = freeHostMemory();
  const needed = estimatedTrainingBytes(sizes, batch, free);
  if (device === 'cpu' && needed > free)
    return { skipped: `training needs about ${formatBytes(needed)} of memory, and ${formatBytes(free)} are free` };
  const count = 2 * batch;
  const inputs = await drawInputs(folder, { ...options, batch }, count, count);
  const worker = await startOwn(threads, device);
  try {
    say('measuring training steps');
    await worker.ask({ op: 'load_training', vit_ckpt_layer, ...load }, Timed);
    const until = { seconds, warmUp: WARM_UP_STEPS, least: LEAST.step };
    const { seconds: steps, cpu, memory } = await worker.ask({ op: 'train', ...inputs, until }, Trained);
    return { ...rateOf(1, steps, cpu), batch, memory };
  } finally {
    await worker.close();
  }
}

/**
 * Measures evaluation and training, each in a process of its own, since a process remembers its peak of memory.
 * @throws UserError for a checkpoint or device that cannot be used
 */
export async function benchMachine(options: MachineOptions) {
  const started = performance.now();
  const { machine, folder } = begin();
  const { vit, image_size, queue_size, device, precision, seconds, threads, seed, pretrained } = options;
  const setting = { vit, image_size, queue_size, device, precision };
  const checkpoint = pretrained === undefined ? undefined : (await fetchPretrained(pretrained, { print: say })).path;
  const load = { ...setting, ...(checkpoint !== undefined && { checkpoint }) };
  const captions = drawCaptions(options.texts, seed);

  const worker = await startOwn(threads, device);
  const { versions } = worker.hello;
  const measured = new Map<Measure, z.infer<typeof Measured>>();
  try {
    say(checkpoint === undefined ? `drawing the weights of vit ${vit}` : `loading ${checkpoint}`);
    await worker.ask({ op: 'load', ...load }, Timed);
    for (const what of measures) {
      say(`measuring ${what}`);
      const least = what.endsWith('query') ? LEAST.latency : LEAST.rate;
      const batch = options.batch;
      measured.set(what, await worker.ask({ op: 'measure', what, captions, batch, seconds, least }, Measured));
    }
  } finally {
    await worker.close();
  }
  const training = await measureTraining(options, load, folder);
  const of = (what: Measure) => get(measured, what);
  const rate = (what: Measure) => rateOf(of(what).units, of(what).seconds, of(what).cpu);
  const latency = (what: Measure) => latencyOf(of(what).seconds, of(what).cpu);
  return {
    machine,
    versions,
    options,
    images: rate('images'),
    texts: rate('texts'),
    pairs: rate('pairs'),
    text_query: latency('text query'),
    image_query: latency('image query'),
    memory: peakMemory([...measured.values()].map(({ memory }) => memory)),
    training,
    seconds: (performance.now() - started) / 1e3,
  };
}
