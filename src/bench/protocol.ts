// What `bench` says to the two programs it measures, and what they answer: one JSON object a line.
import { z } from 'zod';
import type { Precision } from '../torch/precision.js';

export const devices = ['cpu', 'cuda'] as const;
export const sizes = ['tiny', 'base', 'large'] as const;

/** The model and the arithmetic that both programs are given. */
export interface ModelSetting {
  checkpoint: string;
  vit: (typeof sizes)[number];
  image_size: number;
  queue_size: number;
  device: (typeof devices)[number];
  precision: Precision;
}

/** A checkpoint to be drawn by this program, at the path `checkpoint`. */
export type DrawSetting = Pick<ModelSetting, 'checkpoint' | 'vit' | 'image_size' | 'queue_size'>;

/** One evaluation. */
export interface RerankWork {
  /** .safetensors file whose `images` are decoded pixels, uint8 (N, S, S, 3). */
  images: string;
  captions: string[];
  k: number;
  /** Images that go through the vision encoder at a time. */
  batch: number;
  /** Where the matrices go: `i2t` (images, texts) and `t2i` (texts, images). */
  scores?: string;
}

/** A model to be trained, as train_retrieval.py sets it up. */
export interface TrainingSetting extends ModelSetting {
  /** Blocks at the vision encoder's end that recompute their activations; 0 for none. */
  vit_ckpt_layer: number;
}

/** Some steps of training, as many as there are full batches. */
export interface TrainWork {
  /** As RerankWork has them, one caption each; every image is another. */
  images: string;
  captions: string[];
  batch: number;
}

/** The images of the val split in COCO's layout, through the evaluation transform. */
export interface TransformWork {
  image_root: string;
  ann_root: string;
  image_size: number;
}

export type Command =
  | ({ op: 'draw' } & DrawSetting)
  | ({ op: 'load' } & ModelSetting)
  | ({ op: 'rerank' } & RerankWork)
  | ({ op: 'load_training' } & TrainingSetting)
  | ({ op: 'train' } & TrainWork)
  | { op: 'open'; checkpoint: string }
  | { op: 'overhead'; calls: number }
  | ({ op: 'transform' } & TransformWork)
  | { op: 'memory' };

const seconds = z.number().nonnegative();

/** The first line a program writes: ready, and of which versions. */
export const Hello = z.object({ versions: z.record(z.string(), z.string()), threads: z.number().int() });
export type Hello = z.infer<typeof Hello>;
/** What is answered to everything but an evaluation, training and the question for memory. */
export const Timed = z.object({ seconds });
/**
 * Seconds of the features of texts and images, and of the re-ranking; and the seconds that all threads together
 * computed in both, and in the re-ranking, which say something even where other programs share the machine.
 */
const PhaseSeconds = z.object({ features: seconds, rerank: seconds, cpu: seconds, rerank_cpu: seconds });
export type PhaseSeconds = z.infer<typeof PhaseSeconds>;
export const Reranked = z.object({ seconds: PhaseSeconds });
/** Of each step: seconds from batch to batch and both losses; and the seconds that all threads computed in all of them. */
export const Trained = z.object({
  seconds: z.array(seconds),
  cpu: seconds,
  loss_itm: z.array(z.number()),
  loss_ita: z.array(z.number()),
});
export type Trained = z.infer<typeof Trained>;
export const Memory = z.object({ peak_bytes: z.number(), device_peak_bytes: z.number().optional() });
export type Memory = z.infer<typeof Memory>;

/** Every answer: the fields of the work done, or a sentence. */
export const Answer = z.union([
  z.looseObject({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), error: z.string() }),
]);
