// Dropout and drop path of a training step in law: what a model made for it shows, against what the rates say.
import { get } from '#blip/errors.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { scope, type Tensor } from '#blip/torch/tensor.js';
import type { LawOptions } from './law.js';
import {
  dropoutPlaces,
  elementRange,
  elementsOf,
  hiddenLaw,
  linearArchitecture,
  linearState,
  pathPlaces,
  TEXT_LENGTH,
} from './linear-model.js';
import { type Difference, differenceOf, lawOf, Moments } from './moments.js';

const BATCH = 16;
const PAIRS = 3 * BATCH;
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** What the training steps showed: of every place, in every encoder that has it, the difference from what the rates say. */
export function closedFormLaw({ device, precision, draws, seed }: LawOptions): Map<string, Difference> {
  const architecture = linearArchitecture(BATCH);
  const state = linearState(architecture);
  const seen = {
    texts: new Moments(),
    images: new Moments(),
    'momentum texts': new Moments(),
    'momentum images': new Moments(),
  };
  const negatives = {
    imageOfText: range(BATCH).map((i) => (i + 1) % BATCH),
    textOfImage: range(BATCH).map((i) => (i + 2) % BATCH),
  };
  const model = new TrainingModel(state, architecture, {
    device,
    precision,
    encToken: 1,
    chooseNegatives: ({ textFeatures, imageFeatures }) => {
      seen.texts.addRows(elementsOf(textFeatures));
      seen.images.addRows(elementsOf(imageFeatures));
      return negatives;
    },
  });
  const pairs = new Moments();
  const head = get(model.parameters, 'itm_head.weight');
  const texts = range(BATCH).map(() => new Int32Array(TEXT_LENGTH));
  const images = ops.zeros([BATCH, 3, 32, 32], { device });
  manualSeed(seed);
  for (let draw = 0; draw < draws; draw++)
    scope(() => {
      const { backward } = model.forward({ images, texts, idx: range(BATCH) }, 0.4);
      seen['momentum texts'].addRows(elementsOf(ops.transpose(model.queues.texts, 0, 1)));
      seen['momentum images'].addRows(elementsOf(ops.transpose(model.queues.images, 0, 1)));
      for (const parameter of model.parameters.values()) parameter.clearGrad();
      backward();
      // The head's weights are 0, so both classes have probability 1/2, and the gradient of the second class's weights is
      // the mean over the pairs of hidden/2 or, of the third that matches, -hidden/2.
      pairs.add(ops.select(head.grad as Tensor, 0, 1));
    });

  const found = new Map<string, Difference>();
  for (const [what, moments, cross] of [
    ['texts', seen.texts, false],
    ['momentum texts', seen['momentum texts'], false],
    ['pairs', pairs, true],
  ] as const) {
    const { mean, variance } = hiddenLaw(cross);
    const [means, variances] = cross ? [1 / 6, 1 / (4 * PAIRS)] : [1, 1];
    const elements = moments.elements;
    for (const place of dropoutPlaces) {
      if (place.cross && !cross) continue;
      const [start, end] = elementRange(place);
      const sumOfVariances = variance.subarray(start, end).reduce((sum, value) => sum + value * variances, 0);
      const expected = { mean: mean.subarray(start, end).map((x) => x * means), sumOfVariances, draws: Infinity };
      found.set(`${what}: ${place.name}`, differenceOf(lawOf(elements, start, end), expected));
    }
  }
  for (const what of ['images', 'momentum images'] as const) {
    const elements = seen[what].elements;
    for (const { name, element, rate } of pathPlaces) {
      const expected = { mean: Float64Array.of(1), sumOfVariances: rate / (1 - rate), draws: Infinity };
      const law = lawOf(elements, element, element + 1);
      // Block 0 drops nothing, so any variance is too much.
      if (rate > 0) found.set(`${what}: ${name}`, differenceOf(law, expected));
      else found.set(`${what}: ${name}`, { distance: undefined, variances: 1 + 100 * law.sumOfVariances });
    }
  }
  for (const moments of [...Object.values(seen), pairs]) moments.dispose();
  for (const tensor of [...state.values(), images]) tensor.dispose();
  model.dispose();
  return found;
}
