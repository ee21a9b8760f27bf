// The sizes of a BLIP retrieval model: what vit (base, large, tiny) and med_config mean in numbers.
// Source: BLIP's create_vit, configs/med_config.json and BLIP_Retrieval's defaults.
import type { RetrievalConfig } from '../config/load.js';
import { UserError } from '../errors.js';

export interface VisionSizes {
  imageSize: number; // pixels, square
  patchSize: number; // pixels
  width: number;
  depth: number;
  heads: number;
  /** Rate of the last block's drop path; the blocks before have equal steps from 0. Training only. */
  dropPath: number;
}

export interface TextSizes {
  vocabulary: number;
  positions: number;
  width: number;
  intermediate: number;
  depth: number;
  heads: number;
  eps: number;
  /** Standard deviation of weights that no checkpoint gives. */
  initializerRange: number;
  /** Dropout of hidden states and of attention probabilities. Training only. */
  hiddenDropout: number;
  attentionDropout: number;
}

export interface Architecture {
  vision: VisionSizes;
  text: TextSizes;
  /** Width of the common space of image and text features. */
  embedDim: number;
  queueSize: number;
}

const VISION = {
  base: { width: 768, depth: 12, heads: 12, dropPath: 0 },
  large: { width: 1024, depth: 24, heads: 16, dropPath: 0.1 },
  tiny: { width: 64, depth: 3, heads: 4, dropPath: 0 },
} as const;

const BERT_BASE = { width: 768, intermediate: 3072, depth: 12, heads: 12 } as const;
const BERT_TINY = { width: 64, intermediate: 128, depth: 3, heads: 4 } as const;

/** Name of a vision transformer's size in a config. */
export type VisionName = keyof typeof VISION;

/** The published models' queue; also what a config that leaves it out (evaluation needs none) stands for. */
const QUEUE_SIZE = 57600;

/** What of a config decides the model. */
export type ArchitectureConfig = Pick<RetrievalConfig, 'vit' | 'imageSize' | 'medConfig'> & {
  queueSize?: number | undefined;
};

/** The sizes that a config asks for. Throws a UserError when they contradict each other. */
export function architectureOf(config: ArchitectureConfig): Architecture {
  const med = config.medConfig ?? {};
  const vision = { imageSize: config.imageSize, patchSize: 16, ...VISION[config.vit] };
  const bert = config.vit === 'tiny' ? BERT_TINY : BERT_BASE;
  const text = {
    vocabulary: med.vocabSize ?? 30524,
    positions: med.maxPositionEmbeddings ?? 512,
    width: med.hiddenSize ?? bert.width,
    intermediate: med.intermediateSize ?? bert.intermediate,
    depth: med.numHiddenLayers ?? bert.depth,
    heads: med.numAttentionHeads ?? bert.heads,
    eps: med.layerNormEps ?? 1e-12,
    initializerRange: med.initializerRange ?? 0.02,
    hiddenDropout: med.hiddenDropoutProb ?? 0.1,
    attentionDropout: med.attentionProbsDropoutProb ?? 0.1,
  };
  if (text.width % text.heads !== 0)
    throw new UserError(
      `med_config: hidden_size ${text.width} is no multiple of num_attention_heads ${text.heads}; choose one that is`,
    );
  return { vision, text, embedDim: 256, queueSize: config.queueSize ?? QUEUE_SIZE };
}
