// The faults that the law tests must find: one text of one compiled file, what is put in its place, and what must see it.
import type { Plant } from '../helpers/planted.js';

export interface LawPlant extends Plant {
  /** What is wrong then. */
  fault: string;
  /** Matches the line of a failed statistic of test/law/dropout.test. */
  seen: RegExp;
  /** Matches one of test/law/reference.test. */
  reference?: RegExp;
}

const TEXT = 'dist/model/text-encoder.js';
const VISION = 'dist/model/vision-transformer.js';
const MODEL = 'dist/model/training-model.js';

/** The variance of `place` is a part of what it should be, or nothing. */
const less = (encoder: string, place: string) => new RegExp(`${encoder}: ${place}.*: distance .* variances 0\\.[0-6]`);

/** Dropout and drop path. */
export const droppings: readonly LawPlant[] = [
  {
    fault: 'embeddings are not dropped',
    file: TEXT,
    from: 'return ops.dropout(this.#norm.forward(sum), this.mode.hiddenDropout);',
    to: 'return this.#norm.forward(sum);',
    seen: less('texts', 'embeddings'),
    reference: /gradients of embeddings: .* variances 0\.[0-7]/,
  },
  {
    fault: 'the probabilities of self-attention are not dropped',
    file: TEXT,
    from: 'packing, attentionDropout)',
    to: 'packing, 0)',
    seen: less('texts', 'self-attention.s probabilities, layer 1'),
    reference: /gradients of self-attention: .* variances 0\.[0-8]/,
  },
  {
    fault: 'hidden states after self-attention are not dropped',
    file: TEXT,
    from: 'addTo(pick(x), this.attentionDense, flat, hiddenDropout)',
    to: 'addTo(pick(x), this.attentionDense, flat, 0)',
    seen: less('texts', 'hidden after self-attention, layer 0'),
    reference: /text features: .* variances 0\.[0-9]/,
  },
  {
    fault: 'the probabilities of cross-attention are not dropped',
    file: TEXT,
    from: 'ops.attention(q, keys, values, mode.attentionDropout)',
    to: 'ops.attention(q, keys, values, 0)',
    seen: less('pairs', 'cross-attention.s probabilities, layer 0'),
    reference: /gradients of cross-attention: .* variances 0\.[0-8]/,
  },
  {
    fault: 'hidden states after cross-attention are not dropped',
    file: TEXT,
    from: 'addTo(x, this.crossDense, gathered, mode.hiddenDropout)',
    to: 'addTo(x, this.crossDense, gathered, 0)',
    seen: less('pairs', 'hidden after cross-attention, layer 1'),
    reference: /gradients of cross-attention: .* variances 0\.[0-7]/,
  },
  {
    fault: 'hidden states after the feed-forward layers are not dropped',
    file: TEXT,
    from: 'addTo(x, this.output, hidden, mode.hiddenDropout)',
    to: 'addTo(x, this.output, hidden, 0)',
    seen: less('texts', 'hidden after feed-forward, layer 1'),
    reference: /text features: .* variances 0\.[0-9]/,
  },
  {
    fault: 'attention has the rate of hidden states',
    file: MODEL,
    from: 'text.mode = { attend, hiddenDropout, attentionDropout };',
    to: 'text.mode = { attend, hiddenDropout, attentionDropout: hiddenDropout };',
    seen: less('texts', 'self-attention.s probabilities, layer 1'),
    // the published rates are equal, so the reference's law has nothing to tell
  },
  {
    fault: 'the momentum model’s vision encoder skips nothing',
    file: MODEL,
    from: 'vision.training = true;',
    to: "vision.training = suffix === '';",
    seen: less('momentum images', 'mlp of block 3'),
    // the tiny model's drop path is 0, so the reference's law has nothing to tell
  },
  {
    fault: 'the first block is skipped too, and the steps are smaller',
    file: VISION,
    from: '(dropPath * i) / (depth - 1)',
    to: '(dropPath * (i + 1)) / depth',
    seen: /images: attention of block 0: /,
    reference: /first tokens: /,
  },
  {
    fault: 'all blocks are skipped at the last one’s rate',
    file: VISION,
    from: '(dropPath * i) / (depth - 1)',
    to: 'dropPath',
    seen: /images: mlp of block 1: .* variances [2-9]/,
    reference: /first tokens: /,
  },
  {
    fault: 'what drop path keeps is not scaled up',
    file: VISION,
    from: 'ops.div(kept, 1 - rate)',
    to: 'kept',
    seen: /images: mlp of block 3: distance \d{3}/,
    reference: /first tokens: /,
  },
  {
    fault: 'a batch is skipped as a whole',
    file: VISION,
    from: 'ops.empty([x.size(0), 1, 1]',
    to: 'ops.empty([1, 1, 1]',
    seen: /samples kept/,
    reference: /first tokens: /,
  },
];

function dropping(fault: string): LawPlant {
  const found = droppings.find((each) => each.fault === fault);
  if (found === undefined) throw new Error(`There is no fault "${fault}".`);
  return found;
}

/**
 * Those that are planted together for test/law/dropout.test: each changes elements that no other of them changes, so that each
 * is seen as if it were there alone. (A place of attention's probabilities is dropped as hidden states too, and what is not
 * scaled up shows in the momentum model's blocks: those are apart.)
 */
export const droppingsTogether: readonly (readonly LawPlant[])[] = [
  [
    'embeddings are not dropped',
    'hidden states after self-attention are not dropped',
    'the probabilities of cross-attention are not dropped',
    'a batch is skipped as a whole',
  ],
  [
    'the probabilities of self-attention are not dropped',
    'hidden states after cross-attention are not dropped',
    'hidden states after the feed-forward layers are not dropped',
    'the first block is skipped too, and the steps are smaller',
  ],
  [
    'attention has the rate of hidden states',
    'all blocks are skipped at the last one’s rate',
    'the momentum model’s vision encoder skips nothing',
  ],
  ['what drop path keeps is not scaled up'],
].map((faults) => faults.map(dropping));
if (new Set(droppingsTogether.flat()).size !== droppings.length)
  throw new Error('A fault of `droppings` is in no group.');

/** Drawn negatives: what test/law/negatives.test says. */
export const negatives: readonly (Plant & { fault: string; seen: RegExp })[] = [
  {
    fault: 'a row’s own image is not masked',
    file: 'dist/model/negatives.js',
    from: 'return ops.maskedFill(ops.softmax(similarity, 1), own, 0);',
    to: 'return ops.softmax(similarity, 1);',
    seen: /has drawn candidate \d+, which shows its own image/,
  },
  {
    fault: 'the temperature is left out',
    file: 'dist/model/negatives.js',
    from: 'ops.div(ops.matmul(features, ops.transpose(candidates, 0, 1)), input.temperature)',
    to: 'ops.matmul(features, ops.transpose(candidates, 0, 1))',
    seen: /images of texts: \d\d/,
  },
  {
    fault: 'texts are drawn by the similarity of images',
    file: 'dist/model/negatives.js',
    from: 'negativeWeights(input.imageFeatures, input.allTextFeatures, input)',
    to: 'negativeWeights(input.imageFeatures, input.allImageFeatures, input)',
    seen: /texts of images: \d\d/,
  },
];

export interface ImagePlant extends Plant {
  fault: string;
  /** The test that sees it without the reference's images, and the name of what fails there. */
  without: { program: string; seen: RegExp };
}

const AUGMENT = 'dist/data/images/augment.js';
const draws = { program: 'data/images/augment.test', seen: /not ok .* each of two draws is kept in half of the cases/ };

/** Augmentation. */
export const images: readonly ImagePlant[] = [
  {
    fault: 'more operations are kept',
    file: AUGMENT,
    from: 'PROBABILITY = 0.5',
    to: 'PROBABILITY = 0.65',
    without: draws,
  },
  {
    fault: 'fewer operations are kept',
    file: AUGMENT,
    from: 'PROBABILITY = 0.5',
    to: 'PROBABILITY = 0.35',
    without: draws,
  },
  { fault: 'one operation is drawn', file: AUGMENT, from: 'DRAWS = 2', to: 'DRAWS = 1', without: draws },
  { fault: 'three operations are drawn', file: AUGMENT, from: 'DRAWS = 2', to: 'DRAWS = 3', without: draws },
  {
    fault: 'no image is mirrored',
    file: 'dist/data/images/train-transform.js',
    from: 'mirrored: random.flip()',
    to: 'mirrored: false',
    without: { program: 'law/augmentation.test', seen: /not ok .* half of the images are mirrored/ },
  },
  {
    fault: 'crops are smaller',
    file: 'dist/data/images/random-resized-crop.js',
    from: 'SCALE = [0.5, 1]',
    to: 'SCALE = [0.2, 1]',
    without: { program: 'data/images/random-resized-crop.test', seen: /not ok .* distributed as torchvision/ },
  },
];
