// Memory budgets of an evaluation, from the memory that is free on the GPU or in this process's share of the machine.
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { gpuIndex } from '../torch/cuda.js';
import { freeMemory } from '../torch/device-memory.js';

/** Bytes for image tokens and for text stems, and text tokens that go through the encoder at once. */
export interface Budgets {
  images: number;
  stems: number;
  tokens: number;
}

/** Share of the free memory that kept features may take; the rest is for activations and other programs. */
const SHARE = 0.4;
/** Share of that rest which the activations of the text tokens may take. */
const TOKENS_SHARE = 0.4;

// On two CPU cores larger chunks than this gain nothing; a GPU needs more work per launch.
const CPU_TOKENS = 4096;
const CUDA_TOKENS = 65536;

/** Bytes of a text token's activations at the height of a layer: the feed-forward part's two, and some of the model's width. */
function tokenBytes({ architecture: { text }, precision }: BlipRetrieval): number {
  return (2 * text.intermediate + 6 * text.width) * (precision === 'bf16' ? 2 : 4);
}

/**
 * The budgets for `model`'s device; `featureMemory` (bytes), when given, is shared by images and stems of one rank.
 * Ranks on CPUs are assumed to share one machine's memory; ranks on GPUs have one each.
 */
export function chooseBudgets(model: BlipRetrieval, featureMemory?: number, ranks = 1): Budgets {
  const gpu = gpuIndex(model.device);
  const free = freeMemory(model.device) / (gpu === undefined ? ranks : 1);
  const total = featureMemory ?? free * SHARE;
  const fitting = Math.floor(((free - total) * TOKENS_SHARE) / tokenBytes(model));
  const tokens = gpu === undefined ? CPU_TOKENS : Math.min(CUDA_TOKENS, Math.max(CPU_TOKENS, fitting));
  // Stems are worth more than image tokens: without them layer 0's self-attention is repeated for every pair.
  return { images: total * 0.75, stems: total * 0.25, tokens };
}
