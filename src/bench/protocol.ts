// What `bench` sends to the two programs that it measures, and what they answer: one JSON object a line.
import { z } from 'zod';
import type { Precision } from '../torch/precision.js';

export const devices = ['cpu', 'cuda'] as const;
export const sizes = ['tiny', 'base', 'large'] as const;

/** What `bench` without a reference measures, beside training steps. */
export const measures = ['images', 'texts', 'pairs', 'text query', 'image query'] as const;
export type Measure = (typeof measures)[number];

export interface ModelSizes {
  vit: (typeof sizes)[number];
  image_size: number;
  queue_size: number;
}

/** The model and the arithmetic that both programs are given. */
export interface ModelSetting extends ModelSizes {
  device: (typeof devices)[number];
  precision: Precision;
}

/** Images, their captions, and how many images go through the vision encoder or a training step at a time. */
export interface Inputs {
  /** .safetensors file whose `images` are decoded pixels, uint8 (N, S, S, 3). */
  images: string;
  captions: string[];
  batch: number;
}

export interface Commands {
  draw: { checkpoint: string } & ModelSizes;
  /** Without a checkpoint the weights are drawn by the rule, in memory. */
  load: { checkpoint?: string } & ModelSetting;
  /** The same again and again for `seconds`, and at least `least` times, after a first time that is not counted. */
  measure: { what: Measure; captions: string[]; batch: number; seconds: number; least: number };
  /** `scores` is where the matrices go: `i2t` (images, texts) and `t2i` (texts, images). */
  rerank: { k: number; scores?: string } & Inputs;
  /** `vit_ckpt_layer` blocks at the vision encoder's end recompute their activations. */
  load_training: { checkpoint?: string; vit_ckpt_layer: number } & ModelSetting;
  /**
   * As many steps as there are full batches; caption i belongs to image i. With `until` the batches come round again: for
   * these seconds and at least `least` steps, after `warmUp` others that the answer leaves out.
   */
  train: { until?: { seconds: number; warmUp: number; least: number } } & Inputs;
  /** What the steps of an evaluation of these inputs cost, as --dry_run measures it; about `seconds` for each half. */
  trial: { k: number; seconds: number } & Inputs;
  open: { checkpoint: string };
  overhead: { calls: number };
  /** The images of the val split, one after the other; `folder` has images and annotations in COCO's layout. */
  transform: { folder: string; image_size: number };
  /** One epoch of the train split through the program's own loader. */
  epoch: { folder: string; image_size: number; batch: number; workers: number };
}
export type Op = keyof Commands;
export type Command<O extends Op = Op> = { [K in O]: { op: K } & Commands[K] }[O];

const seconds = z.number().nonnegative();
/** Of packages, by name. */
const versions = z.record(z.string(), z.string());
export type Versions = z.infer<typeof versions>;
const numbers = z.array(z.number());

/** The first line a program writes: that it is ready, and of which versions. */
export const Hello = z.object({ versions, threads: z.number().int() });
/** Peaks of the process so far. */
const Memory = z.object({ peak_bytes: z.number(), device_peak_bytes: z.number().optional() });
export type Memory = z.infer<typeof Memory>;
/** The answer to everything but `rerank`, `train` and `epoch`. */
export const Timed = z.object({ seconds });
/** Seconds of the features and of the re-ranking; CPU seconds of all threads in both together and in the re-ranking. */
const PhaseSeconds = z.object({ features: seconds, rerank: seconds, cpu: seconds, rerank_cpu: seconds });
export type PhaseSeconds = z.infer<typeof PhaseSeconds>;
export const Reranked = z.object({ seconds: PhaseSeconds, memory: Memory });
/** Of each step: seconds from batch to batch and both losses; CPU seconds of all threads in all steps together. */
const steps = { seconds: numbers, loss_itm: numbers, loss_ita: numbers };
export const Trained = z.object({ ...steps, cpu: seconds, memory: Memory });
/** Seconds of each repetition, in which `units` images, texts or pairs were done; CPU seconds of all of them together. */
export const Measured = z.object({ units: z.number().int(), seconds: numbers, cpu: seconds, memory: Memory });
const costs = {
  start: seconds,
  image: seconds,
  token: seconds,
  similarity: seconds,
  work: seconds,
  distinctShare: seconds,
};
/** `counts` of the inputs, `costs` in seconds (EvaluationCosts), what was measured, and the bytes that image tokens may take. */
export const Tried = z.object({
  counts: z.object({ images: z.int(), texts: z.int(), distinct: z.int(), tokens: z.int() }),
  costs: z.object(costs),
  sample: z.object({ images: z.int(), pairs: z.int() }),
  image_budget: z.number(),
});
/** CPU seconds are of the program and its workers together; `versions` are of what decodes and transforms. */
export const Epoch = z.object({ seconds, cpu_seconds: seconds, images: z.number().int().positive(), versions });

/** Every answer: the fields of the work done, or a sentence. */
export const Answer = z.union([
  z.looseObject({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), error: z.string() }),
]);
