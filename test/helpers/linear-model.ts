// A model made so that each place of dropout and drop path shows in elements of its own, in closed form: what the law is
// follows from the rates by hand, without recorded values.
//
// Weights are 0 but for the biases that a place drops from. The text encoder's LayerNorms have an eps so large that they
// only subtract the mean: hidden states are then a sum over places, and each place adds to elements that no other adds to.
import { at } from '#blip/errors.js';
import type { Architecture } from '#blip/model/architecture.js';
import { stateDictEntries } from '#blip/model/state-dict.js';
import * as ops from '#blip/torch/ops.js';
import type { Tensor } from '#blip/torch/tensor.js';

const HEADS = 4;
const DEPTH = 2;
/** Elements of a place, one a head where attention's probabilities are dropped. */
const ELEMENTS = HEADS;
const WIDTH = 64;
const VISION_WIDTH = 32;
const VISION_DEPTH = 4;
const EPS = 1e8;
/** Values of the first feature, by which the others are divided, and of the image tokens' first element. */
export const UNIT = 16;

/** Distinct rates, so that one in another's place shows. */
export const RATES = { hidden: 0.1, attention: 0.3, path: 0.3 } as const;
/** Tokens of every text, and of every image. */
export const TEXT_LENGTH = 2;
const IMAGE_TOKENS = 5;

export const linearArchitecture = (batch: number): Architecture => ({
  vision: { imageSize: 32, patchSize: 16, width: VISION_WIDTH, depth: VISION_DEPTH, heads: 2, dropPath: RATES.path },
  text: {
    vocabulary: 8,
    positions: 8,
    width: WIDTH,
    intermediate: 16,
    depth: DEPTH,
    heads: HEADS,
    eps: EPS,
    initializerRange: 0,
    hiddenDropout: RATES.hidden,
    attentionDropout: RATES.attention,
  },
  embedDim: WIDTH,
  queueSize: batch,
});

/** Where the text encoder drops. */
export interface DropoutPlace {
  name: string;
  /** In multimodal mode alone. */
  cross: boolean;
  /** Its first element; the first element of all belongs to none. */
  start: number;
  /** Of each of its elements when kept or not, with mean 1. */
  variance: number;
}

/** Of a mask of zeros at `rate`, the others divided by 1 - rate: E[m²] = 1/(1 - rate). */
const secondMoment = (rate: number) => 1 / (1 - rate);
const hidden = secondMoment(RATES.hidden) - 1;
/** Evenly attended values are multiplied by the mean of `tokens` masks, and then dropped as hidden states. */
const attended = (tokens: number) =>
  secondMoment(RATES.hidden) * (1 + (secondMoment(RATES.attention) - 1) / tokens) - 1;

export const dropoutPlaces: readonly DropoutPlace[] = [
  { name: 'embeddings', cross: false, variance: hidden },
  ...Array.from({ length: DEPTH }, (_, layer) => [
    { name: `self-attention's probabilities, layer ${layer}`, cross: false, variance: attended(TEXT_LENGTH) },
    { name: `hidden after self-attention, layer ${layer}`, cross: false, variance: hidden },
    { name: `cross-attention's probabilities, layer ${layer}`, cross: true, variance: attended(IMAGE_TOKENS) },
    { name: `hidden after cross-attention, layer ${layer}`, cross: true, variance: hidden },
    { name: `hidden after feed-forward, layer ${layer}`, cross: false, variance: hidden },
  ]).flat(),
].map((place, i) => ({ ...place, start: 1 + i * ELEMENTS }));

const startOf = (name: string) => dropoutPlaces.find((place) => place.name === name)?.start ?? 0;

/** Where the vision encoder drops: element of the hidden state, and rate. */
export const pathPlaces = Array.from({ length: VISION_DEPTH }, (_, block) => {
  const rate = (RATES.path * block) / (VISION_DEPTH - 1);
  return [
    { name: `attention of block ${block}`, element: 2 + 2 * block, rate },
    { name: `mlp of block ${block}`, element: 3 + 2 * block, rate },
  ];
}).flat();

/** The elements from `start` on are 1. */
function ones(size: number, start: number, count = ELEMENTS): Float32Array {
  return new Float32Array(size).fill(1, start, start + count);
}

/** What is not 0 in the model, by the end of its name without `_m`. */
function valuesOf(): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>();
  const text = 'text_encoder';
  values.set(`${text}.embeddings.LayerNorm.bias`, ones(WIDTH, startOf('embeddings')));
  for (let layer = 0; layer < DEPTH; layer++) {
    const prefix = `${text}.encoder.layer.${layer}`;
    for (const [module, what] of [
      ['attention', 'self-attention'],
      ['crossattention', 'cross-attention'],
    ] as const) {
      // The first element of each head is 1, and goes to that head's element of the place.
      const [value, dense] = [new Float32Array(WIDTH), new Float32Array(WIDTH * WIDTH)];
      const start = startOf(`${what}'s probabilities, layer ${layer}`);
      for (let head = 0; head < HEADS; head++) {
        const first = (head * WIDTH) / HEADS;
        value[first] = 1;
        dense[(start + head) * WIDTH + first] = 1;
      }
      values.set(`${prefix}.${module}.self.value.bias`, value);
      values.set(`${prefix}.${module}.output.dense.weight`, dense);
      values.set(`${prefix}.${module}.output.dense.bias`, ones(WIDTH, startOf(`hidden after ${what}, layer ${layer}`)));
    }
    values.set(`${prefix}.output.dense.bias`, ones(WIDTH, startOf(`hidden after feed-forward, layer ${layer}`)));
  }
  // Feature 0 is a constant, feature i hidden element i.
  const identity = new Float32Array(WIDTH * WIDTH);
  for (let i = 1; i < WIDTH; i++) identity[i * WIDTH + i] = 1;
  values.set('text_proj.weight', identity);
  values.set(
    'text_proj.bias',
    ones(WIDTH, 0, 1).map((x) => x * UNIT),
  );

  // The image's tokens are UNIT in element 0 and 0 in element 1, from which the others can be told after a LayerNorm.
  values.set(
    'visual_encoder.pos_embed',
    Float32Array.from({ length: IMAGE_TOKENS * VISION_WIDTH }, (_, i) => (i % VISION_WIDTH === 0 ? UNIT : 0)),
  );
  for (const { name, element } of pathPlaces) {
    const block = name.at(-1);
    const layer = name.startsWith('mlp') ? 'mlp.fc2' : 'attn.proj';
    values.set(`visual_encoder.blocks.${block}.${layer}.bias`, ones(VISION_WIDTH, element, 1));
  }
  // Feature i is element i less element 1.
  const less = new Float32Array(WIDTH * VISION_WIDTH);
  for (let i = 0; i < VISION_WIDTH; i++) {
    less[i * VISION_WIDTH + i] = 1;
    less[i * VISION_WIDTH + 1] = (less[i * VISION_WIDTH + 1] ?? 0) - 1;
  }
  values.set('vision_proj.weight', less);
  return values;
}

/** Every entry of the model, on the CPU. */
export function linearState(architecture: Architecture): Map<string, Tensor> {
  const values = valuesOf();
  const state = new Map<string, Tensor>();
  const unused = new Set(values.keys());
  for (const [name, shape, dtype] of stateDictEntries(architecture)) {
    const plain = name.replace('_m.', '.');
    const given = values.get(plain);
    unused.delete(plain);
    const norm = /LayerNorm\.weight$|norm\d?\.weight$/.test(name);
    const scale = name.includes('LayerNorm') ? Math.sqrt(EPS) : 1;
    if (given) state.set(name, ops.float32(given, shape));
    else state.set(name, ops.full(shape, name === 'temp' ? 0.07 : norm ? scale : 0, { dtype }));
  }
  if (unused.size > 0) throw new Error(`The model has no ${at([...unused], 0)}`);
  return state;
}

/** Unit features (B, E) → hidden elements, but for the first: divided by the first, which is a constant. */
export function elementsOf(features: Tensor): Tensor {
  return ops.mul(ops.div(features, ops.slice(features, 1, 0, 1)), UNIT);
}

/** Means and variances of the hidden states' elements, in text mode or, with `cross`, in multimodal mode. */
export function hiddenLaw(cross: boolean): { mean: Float64Array; variance: Float64Array } {
  const [mean, variance] = [new Float64Array(WIDTH), new Float64Array(WIDTH)];
  for (const place of dropoutPlaces) {
    if (place.cross && !cross) continue;
    mean.fill(1, place.start, place.start + ELEMENTS);
    variance.fill(place.variance, place.start, place.start + ELEMENTS);
  }
  // The LayerNorms take the mean of all elements from each.
  const sum = (x: Float64Array) => x.reduce((total, value) => total + value, 0);
  const [center, shared] = [sum(mean) / WIDTH, sum(variance) / WIDTH ** 2];
  return { mean: mean.map((x) => x - center), variance: variance.map((x) => x * (1 - 2 / WIDTH) + shared) };
}

/** First and last element, less one, of a place. */
export const elementRange = ({ start }: DropoutPlace): [number, number] => [start, start + ELEMENTS];
