// `bench ranks`: the cores of a machine as one process with all threads, and as several ranks with a part of them each.

import { join } from 'node:path';
import type { z } from 'zod';
import { formatBytes } from '../disk/space.js';
import { freePort } from '../distributed/launcher.js';
import { fetchPretrained } from '../download/pretrained-file.js';
import { at, UserError } from '../errors.js';
import { counted } from '../logging/text.js';
import { freeHostMemory } from '../torch/device-memory.js';
import { estimatedTrainingBytes } from '../training/memory.js';
import { architectureFor } from './drawn-weights.js';
import { begin, type ModelOptions, say, startOwn, type Worker } from './harness.js';
import { type Command, type Commands, Reranked, Timed, Trained } from './protocol.js';
import { readScores } from './rerank.js';
import { compareScores, summary } from './statistics.js';
import { drawInputs } from './workload.js';

export interface RanksOptions extends Omit<ModelOptions, 'device'> {
  /** Of a rank, where there are several; `threads` is that of all of them together. */
  rank_threads: number;
  images: number;
  texts: number;
  k: number;
  /** Images of a training step, of all ranks together. */
  train_batch: number;
  vit_ckpt_layer: number;
  steps: number;
  rounds: number;
}

export type RanksReport = Awaited<ReturnType<typeof benchRanks>>;

/** Steps that are not measured: the first makes the optimizer's state, in the second the heap still grows. */
const WARM_UP = 2;

interface Layout {
  ranks: number;
  threads: number;
}

/** Starts the ranks, has all of them do the same, and ends them. Answers are in the order of the ranks. */
async function together<T>(layout: Layout, load: Command, command: Command, answer: z.ZodType<T>): Promise<T[]> {
  const { ranks, threads } = layout;
  const port = await freePort();
  const places = Array.from({ length: ranks }, (_, rank) => (ranks > 1 ? [rank, ranks, port].map(String) : []));
  const started = await Promise.allSettled(places.map((place) => startOwn(threads, 'cpu', place)));
  const workers: Worker[] = started.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  try {
    for (const start of started) if (start.status === 'rejected') throw start.reason;
    await Promise.all(workers.map((worker) => worker.ask(load, Timed)));
    return await Promise.all(workers.map((worker) => worker.ask(command, answer)));
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/**
 * Evaluates, and trains where the memory is there, in both layouts alternately; each turn in processes of its own.
 * @throws UserError where the threads cannot be divided
 */
export async function benchRanks(options: RanksOptions) {
  const { threads, rank_threads, images, texts, k, train_batch, vit_ckpt_layer, steps, rounds } = options;
  const count = threads / rank_threads;
  if (!Number.isInteger(count) || count < 2) {
    const what = `${counted(threads, 'thread')} cannot make several ranks of ${rank_threads}`;
    throw new UserError(`${what}. Give a --threads that is twice --rank_threads, or a larger multiple of it.`, {
      exitCode: 2,
    });
  }
  const { machine, folder } = begin();
  const { vit, image_size, queue_size, precision, pretrained } = options;
  const setting = { vit, image_size, queue_size, device: 'cpu', precision } as const;
  const checkpoint = pretrained === undefined ? undefined : (await fetchPretrained(pretrained, { print: say })).path;
  const load = { ...setting, ...(checkpoint !== undefined && { checkpoint }) };
  const layouts: readonly [Layout, Layout] = [
    { ranks: 1, threads },
    { ranks: count, threads: rank_threads },
  ];

  /** Seconds are the slowest rank's; CPU seconds and memory those of all ranks together. */
  const alternate = async <T extends z.infer<typeof Reranked> | z.infer<typeof Trained>>(
    what: string,
    loading: Command,
    command: (layout: Layout) => Command,
    answer: z.ZodType<T>,
    of: (answer: T) => { seconds: number; cpu: number },
  ) => {
    const turns = layouts.map((): { seconds: number; cpu: number; bytes: number }[] => []);
    for (let round = 1; round <= rounds; round++)
      for (const [i, layout] of layouts.entries()) {
        const answers = await together(layout, loading, command(layout), answer);
        const figures = answers.map(of);
        const seconds = Math.max(...figures.map((one) => one.seconds));
        const bytes = sum(answers.map(({ memory }) => memory.peak_bytes));
        at(turns, i).push({ seconds, cpu: sum(figures.map((one) => one.cpu)), bytes });
        say(
          `round ${round} of ${rounds}: ${what}, ${layout.ranks} x ${counted(layout.threads, 'thread')}, ${seconds.toFixed(2)} s`,
        );
      }
    return turns.map((turn) => ({
      seconds: summary(turn.map(({ seconds }) => seconds)),
      cpu_seconds: summary(turn.map(({ cpu }) => cpu)),
      peak_bytes: Math.max(...turn.map(({ bytes }) => bytes)),
    }));
  };

  const scoresOf = ({ ranks }: Layout) => join(folder, `scores_${ranks}.safetensors`);
  const inputs = await drawInputs(folder, options, images, texts);
  const evaluation = await alternate(
    'evaluation',
    { op: 'load', ...load },
    (layout) => ({ op: 'rerank', ...inputs, k, scores: scoresOf(layout) }),
    Reranked,
    ({ seconds: { features, rerank, cpu } }) => ({ seconds: features + rerank, cpu }),
  );
  const [one, several] = [readScores(scoresOf(layouts[0])), readScores(scoresOf(layouts[1]))];
  const scores = compareScores([one.i2t, several.i2t], [one.t2i, several.t2i]);

  const train = async () => {
    if (train_batch % count !== 0)
      return { skipped: `${counted(count, 'rank')} cannot share a batch of ${train_batch}` };
    const setting = { precision, device: 'cpu' as const, checkpointedBlocks: vit_ckpt_layer, ranks: count };
    const free = freeHostMemory();
    const sizes = { architecture: architectureFor(options), ...setting };
    const needed = count * estimatedTrainingBytes(sizes, train_batch / count, free);
    if (needed > free)
      return {
        skipped: `${counted(count, 'rank')} need about ${formatBytes(needed)} of memory, and ${formatBytes(free)} are free`,
      };
    const samples = (steps + WARM_UP) * train_batch;
    const data = await drawInputs(folder, { ...options, batch: train_batch }, samples, samples);
    const loading: { op: 'load_training' } & Commands['load_training'] = {
      op: 'load_training',
      vit_ckpt_layer,
      ...load,
    };
    return await alternate(
      'training',
      loading,
      () => ({ op: 'train', ...data }),
      Trained,
      (answer) => ({
        seconds: sum(answer.seconds.slice(WARM_UP)) / steps,
        cpu: answer.cpu / answer.seconds.length,
      }),
    );
  };
  return { machine, options, layouts, evaluation, scores, training: await train() };
}
