// The sizes of a BLIP retrieval model: what vit (base, large, tiny) and med_config mean in numbers.
// Source: BLIP's create_vit, configs/med_config.json and BLIP_Retrieval's defaults.
import { type LoadConfigOptions, type Misfit, misfitText, type RetrievalConfig, readConfig } from '../config/load.js';
import { MAX_LENGTH } from '../data/tokenizer.js';
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

const VISION_NAMES = ['base', 'large', 'tiny'] as const satisfies readonly VisionName[];

/** Edge of a patch in pixels. */
export const PATCH_SIZE = 16;
/** Epsilon of the vision encoder's LayerNorms, with which BLIP was trained (timm's; transformers' default is 1e-5). */
export const VISION_EPS = 1e-6;
/** Larger images would be a mistake: 65,536 patches. */
const MAX_IMAGE_SIZE = 4096;
/** Rows of bert-base-uncased's token embedding, and of the two tokens that BLIP adds. */
const VOCABULARY = 30_524;
/** The published models' queue, and that of a config without queue_size: evaluation does not need it. */
const QUEUE_SIZE = 57_600;

/** What of a config decides the model. What it leaves out, a checkpoint may tell: sizesOf. */
export type ArchitectureConfig = Pick<RetrievalConfig, 'vit' | 'imageSize' | 'queueSize' | 'medConfig'>;

/** The sizes that the shapes of a checkpoint's weights tell. */
export interface CheckpointSizes {
  vit: VisionName;
  imageSize: number; // pixels
  /** Undefined where the file has no queues. */
  queueSize: number | undefined;
}

/** The size of this width and depth, undefined where there is none. */
export function visionNameOf(width: number, depth: number): VisionName | undefined {
  return VISION_NAMES.find((name) => VISION[name].width === width && VISION[name].depth === depth);
}

/** The settings that no model can have, alone or together. */
function misfits({ vit, imageSize, medConfig: med = {} }: Partial<ArchitectureConfig>): Misfit[] {
  const found: Misfit[] = [];
  const expect = (fits: boolean, key: string, expected: string, received: unknown) => {
    if (!fits && received !== undefined) found.push({ key, expected, received });
  };
  const atLeast = (least: number, key: string, value: number | undefined) =>
    expect(value !== undefined && value >= least, key, `a whole number of at least ${least}`, value);
  const multiple = imageSize !== undefined && imageSize % PATCH_SIZE === 0 && imageSize <= MAX_IMAGE_SIZE;
  expect(multiple, 'image_size', `a multiple of ${PATCH_SIZE} up to ${MAX_IMAGE_SIZE}`, imageSize);
  atLeast(VOCABULARY, 'med_config.vocab_size', med.vocabSize); // a smaller table would lack rows
  atLeast(MAX_LENGTH, 'med_config.max_position_embeddings', med.maxPositionEmbeddings);
  if (vit === undefined) return found;
  const { width } = VISION[vit];
  const sameWidth = med.encoderWidth === width;
  expect(sameWidth, 'med_config.encoder_width', `${width}, the width of vit ${vit},`, med.encoderWidth);
  const { width: hidden, heads } = textSizes(vit, med);
  const [head, key] = [`a multiple of num_attention_heads (${heads})`, 'med_config.hidden_size'];
  expect(hidden % heads === 0, key, head, hidden);
  return found;
}

/** Reads and checks a config as readConfig does, and the model's limits with it: all mistakes come in one error. */
export function loadConfig(
  path: string,
  overrides: readonly string[] = [],
  options: LoadConfigOptions = {},
): RetrievalConfig {
  return readConfig(path, overrides, options, misfits);
}

function textSizes(vit: VisionName, med: ArchitectureConfig['medConfig']): TextSizes {
  const bert = vit === 'tiny' ? BERT_TINY : BERT_BASE;
  return {
    vocabulary: med.vocabSize ?? VOCABULARY,
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
}

/**
 * The sizes that a config asks for, those that it leaves out as `found` has them.
 * @throws UserError where no model can have them, or nothing tells `vit` or `image_size`
 */
export function architectureOf(config: ArchitectureConfig, found?: CheckpointSizes): Architecture {
  const vit = config.vit ?? found?.vit;
  const imageSize = config.imageSize ?? found?.imageSize;
  if (vit === undefined || imageSize === undefined) {
    const absent = vit === undefined ? 'vit' : 'image_size';
    throw new UserError(`The model cannot be built: the config has no ${absent}. Add it.`);
  }
  const [misfit] = misfits({ ...config, vit, imageSize });
  if (misfit !== undefined) throw new UserError(`The model cannot be built: ${misfitText(misfit)}.`);
  return {
    vision: { imageSize, patchSize: PATCH_SIZE, ...VISION[vit] },
    text: textSizes(vit, config.medConfig),
    embedDim: 256,
    queueSize: config.queueSize ?? found?.queueSize ?? QUEUE_SIZE,
  };
}
