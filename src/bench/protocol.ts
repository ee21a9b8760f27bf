// What `bench` says to the two programs it measures, and what they answer: one JSON object a line.
import { z } from 'zod';

export const devices = ['cpu', 'cuda'] as const;
export const precisions = ['fp32', 'tf32', 'bf16'] as const;
export const sizes = ['tiny', 'base', 'large'] as const;

/** The model and the arithmetic that both programs are given. */
export interface ModelSetting {
  /** File; this program draws the weights by the rule where it is absent. */
  checkpoint?: string;
  vit: (typeof sizes)[number];
  image_size: number;
  queue_size: number;
  device: (typeof devices)[number];
  precision: (typeof precisions)[number];
}

/** One evaluation; without `k` only the features. */
export interface RerankWork {
  /** .safetensors file whose `images` is (N, 3, S, S) float32, already normalised. */
  images: string;
  captions: string[];
  k?: number;
  /** Images that go through the vision encoder at a time. */
  batch: number;
  /** Where the matrices go: `i2t` (images, texts) and `t2i` (texts, images). */
  scores?: string;
}

export type Command =
  | ({ op: 'draw'; checkpoint: string } & Pick<ModelSetting, 'vit' | 'image_size' | 'queue_size'>)
  | ({ op: 'load' } & ModelSetting)
  | ({ op: 'rerank' } & RerankWork)
  | { op: 'open'; checkpoint: string }
  | { op: 'overhead'; calls: number }
  | { op: 'transform'; image_root: string; ann_root: string; image_size: number }
  | { op: 'memory' };

const seconds = z.number().nonnegative();

/** The first line a program writes: ready, and of which versions. */
export const Hello = z.object({ versions: z.record(z.string(), z.string()), threads: z.number().int() });
export type Hello = z.infer<typeof Hello>;
export const Drawn = z.object({ tensors: z.number() });
export const Loaded = z.object({ seconds });
export const Timed = z.object({ seconds });
export const Transformed = z.object({ seconds, images: z.number() });
/** Seconds of each phase: `texts` and `images` are the features, all others the re-ranking. */
export const Reranked = z.object({ seconds: z.record(z.string(), seconds) });
export type Reranked = z.infer<typeof Reranked>;
export const Memory = z.object({ peak_bytes: z.number(), device_peak_bytes: z.number().optional() });
export type Memory = z.infer<typeof Memory>;

/** Every answer: the fields of the work done, or a sentence. */
export const Answer = z.union([
  z.looseObject({ ok: z.literal(true) }),
  z.object({ ok: z.literal(false), error: z.string() }),
]);
