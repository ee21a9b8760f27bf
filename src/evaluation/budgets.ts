// Memory budgets of an evaluation, from the memory that is free on the GPU or in this process's share of the machine.
import { freemem, totalmem } from 'node:os';
import type { BlipRetrieval } from '../model/blip-retrieval.js';
import { native } from '../torch/native.js';

/** Bytes for image tokens and for text stems, and text tokens that go through the encoder at once. */
export interface Budgets {
  images: number;
  stems: number;
  tokens: number;
}

/** Share of the free memory that kept features may take; the rest is for weights, activations and other programs. */
const SHARE = 0.4;

// A chunk's largest tensors are its feed-forward activations (tokens, 3072). On two CPU cores larger chunks than this
// gain nothing; a GPU needs more work per launch.
const CPU_TOKENS = 4096;
const CUDA_TOKENS = 65536;

/** Bytes that this process could still allocate: what the system has, or what its control group leaves. */
function freeHostMemory(): number {
  const limit = process.constrainedMemory();
  const used = process.memoryUsage().rss;
  const available = 'availableMemory' in process ? Number(process.availableMemory()) : freemem();
  return limit > 0 && limit < totalmem() ? Math.min(available, limit - used) : available;
}

/**
 * The budgets for `model`'s device; `featureMemory` (bytes), when given, is shared by images and stems of one rank.
 * Ranks on CPUs are assumed to share one machine's memory; ranks on GPUs have one each.
 */
export function chooseBudgets(model: BlipRetrieval, featureMemory?: number, ranks = 1): Budgets {
  const cuda = /^cuda(?::(\d+))?$/.exec(model.device);
  const free = cuda ? native().deviceMemory(Number(cuda[1] ?? 0)).free : freeHostMemory() / ranks;
  const total = featureMemory ?? free * SHARE;
  // Stems are worth more than image tokens: without them layer 0's self-attention is repeated for every pair.
  return { images: total * 0.75, stems: total * 0.25, tokens: cuda ? CUDA_TOKENS : CPU_TOKENS };
}
