// The reference's random parts in law: its means and variances over 4,000 draws (law.*), and ours.
// Dropout, drop path and augmentation cannot be compared draw by draw.
import { join } from 'node:path';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { trainTransform } from '#blip/data/images/train-transform.js';
import { Tokenizer } from '#blip/data/tokenizer.js';
import { at, get } from '#blip/errors.js';
import { architectureOf } from '#blip/model/architecture.js';
import { imagesFromBytes } from '#blip/model/normalize-images.js';
import { loadTrainingState } from '#blip/model/pretrained.js';
import { TrainingModel } from '#blip/model/training-model.js';
import { VisionTransformer } from '#blip/model/vision-transformer.js';
import { openTensorFile } from '#blip/torch/checkpoint/index.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import type { Precision } from '#blip/torch/precision.js';
import { readSafetensors } from '#blip/torch/safetensors.js';
import { autocast, type Device, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { absent, fixture } from './fixtures.js';
import { type Difference, differenceOf, type Law, lawOf, Moments } from './moments.js';
import { readJson } from './tensors.js';

const SIZE = 96;
const FILES = ['law.json', 'law.pth', 'law.safetensors', 'data/images'] as const;

/** False, or what a test says that is skipped because law.* is absent. */
export const lawSkip = FILES.every((name) => fixture(name)) ? false : absent('law.json');

interface Facts {
  draws: number;
  images: string[];
  captions: string[];
  idx: number[];
  alpha: number;
  gradients: Record<string, { norm_of_mean: number; sum_of_variances: number }>;
  negatives: { imageOfText: number[]; textOfImage: number[] };
  augmented_rows: number[];
  rows: number[];
}

const path = (name: (typeof FILES)[number]) => fixture(name) ?? '';
const facts = lawSkip ? undefined : readJson<Facts>(path('law.json'));

function recorded(): Facts {
  if (facts === undefined) throw new Error(`${lawSkip}`);
  return facts;
}

const architecture = architectureOf({ vit: 'tiny', imageSize: SIZE, queueSize: 1024, medConfig: {} });
const WORDS = '.embeddings.word_embeddings.weight';

/** The recorded law of one quantity. */
function expected(name: string): Law {
  const { draws, gradients } = recorded();
  const file = readSafetensors(path('law.safetensors'));
  const values = (kind: 'mean' | 'var') => {
    const found = file.get(`${name}/${kind}`);
    return found && Float64Array.from(new Float32Array(Uint8Array.from(found.data).buffer));
  };
  const [mean, variance] = [values('mean'), values('var')];
  const sum = gradients[name.replace('gradient/', '')]?.sum_of_variances;
  const sumOfVariances = variance?.reduce((total, value) => total + value, 0) ?? sum;
  if (sumOfVariances === undefined) throw new Error(`law.* has no ${name}`);
  return { draws, sumOfVariances, ...(mean && { mean }) };
}

/** The recorded model, but of the words only those that occur, numbered anew: the others' gradients are 0, and take time. */
async function recordedModel() {
  const tokenizer = Tokenizer.load();
  const long = recorded().captions.map((caption) => tokenizer.encode(caption).ids);
  const words = [...new Set([tokenizer.encTokenId, ...long.flatMap((ids) => [...ids])])];
  const texts = long.map((ids) => ids.map((id) => words.indexOf(id)));
  using file = await openTensorFile(path('law.pth'));
  const { state } = loadTrainingState(file, architecture, { seed: 0 });
  const rows = ops.int64(words);
  const cut = new Map(
    [...state].map(([name, x]) => [name, name.endsWith(WORDS) ? ops.indexSelect(x, 0, rows) : ops.clone(x)]),
  );
  const text = { ...architecture.text, vocabulary: words.length };
  return { state: cut, texts, encToken: 0, architecture: { ...architecture, text } };
}

/** The first `count` recorded images (count, 3, 96, 96), as the evaluation transforms them. */
async function images(device: Device, count: number): Promise<Tensor> {
  const bytes = SIZE * SIZE * 3;
  const pixels = new Uint8Array(count * bytes);
  for (const [i, name] of recorded().images.slice(0, count).entries()) {
    const image = await decodeRgb(join(path('data/images'), name));
    evaluationTransform(image, SIZE, pixels.subarray(i * bytes, (i + 1) * bytes));
  }
  return imagesFromBytes(pixels, count, SIZE, device);
}

/** The part of the model that a gradient's parameter belongs to. */
function partOf(name: string): string {
  if (name.startsWith('visual_encoder.')) return 'vision encoder';
  if (name.includes('.embeddings.')) return 'embeddings';
  if (name.includes('.crossattention.')) return 'cross-attention';
  if (name.includes('.attention.')) return 'self-attention';
  return name.startsWith('text_encoder.') ? 'feed-forward' : 'projections and temperature';
}

/** Mean distance and geometric mean of the ratios of variances: of many gradients, whose elements move together. */
function together(differences: readonly Difference[]): Difference {
  const mean = (x: readonly number[]) => x.reduce((sum, value) => sum + value, 0) / x.length;
  return {
    distance: mean(differences.flatMap(({ distance }) => distance ?? [])),
    variances: Math.exp(mean(differences.map(({ variances }) => Math.log(variances)))),
  };
}

export interface LawOptions {
  device: Device;
  precision: Precision;
  draws: number;
  seed: number;
}

/** Differences of text features, losses and, by part of the model, gradients of a training step with given negatives. */
export async function lawOfTraining(options: LawOptions): Promise<Map<string, Difference>> {
  const { device, precision, draws, seed } = options;
  const { captions, idx, alpha, negatives, gradients } = recorded();
  const { state, texts, encToken, architecture } = await recordedModel();
  const features = new Moments();
  const model = new TrainingModel(state, architecture, {
    device,
    precision,
    negativeAllRank: true,
    encToken,
    chooseNegatives: ({ textFeatures }) => {
      features.add(textFeatures);
      return negatives;
    },
  });
  const pixels = await images(device, captions.length);
  // The step moves the momentum copies and the queues, which every draw begins with as they were.
  const moved = [...model.state].filter(([name]) => !model.parameters.has(name) && name !== 'ptr_queue');
  const before = moved.map(([, tensor]) => ops.clone(tensor));
  const names = Object.keys(gradients);
  const [losses, all] = [new Moments(), new Moments()];
  const sizes: number[] = [];
  manualSeed(seed);
  for (let draw = 0; draw < draws; draw++)
    scope(() => {
      noGrad(() => {
        for (const [i, [, tensor]] of moved.entries()) ops.copyInPlace(tensor, before[i] as Tensor);
      });
      for (const parameter of model.parameters.values()) parameter.clearGrad();
      const { ita, itm, backward } = model.forward({ images: pixels, texts, idx }, alpha);
      backward();
      losses.add(ops.stack([ops.detach(ita), ops.detach(itm)]));
      const flat = names.map((name) => ops.reshape(get(model.parameters, name).grad as Tensor, [-1]));
      if (sizes.length === 0) sizes.push(...flat.map(({ numel }) => numel));
      all.add(noGrad(() => ops.cat(flat)));
    });
  const found = new Map<string, Difference>();
  found.set('text features', differenceOf(features.law(), expected('text_features')));
  found.set('loss ITA', differenceOf(losses.law(0, 1), expected('loss_ita')));
  found.set('loss ITM', differenceOf(losses.law(1, 2), expected('loss_itm')));
  const parts = new Map<string, Difference[]>();
  const elements = all.elements;
  let start = 0;
  for (const [i, name] of names.entries()) {
    const end = start + (sizes[i] as number);
    const difference = differenceOf(lawOf(elements, start, end), expected(`gradient/${name}`));
    start = end;
    if (name.endsWith('.key.bias')) continue; // its true gradient is 0, and what it has is rounding
    const part = `gradients of ${partOf(name)}`;
    parts.set(part, [...(parts.get(part) ?? []), difference]);
  }
  for (const [part, differences] of parts) found.set(part, together(differences));
  for (const tensor of [...before, ...state.values(), pixels]) tensor.dispose();
  for (const moments of [features, losses, all]) moments.dispose();
  model.dispose();
  return found;
}

const DROP_PATH = 0.1;
/** Copies of the images that go through the encoder at once. */
const COPIES = 32;

/** Differences of the images' first tokens under drop path, as the large model has it. */
export async function lawOfDropPath({ device, precision, draws, seed }: LawOptions): Promise<Map<string, Difference>> {
  const { state, architecture } = await recordedModel();
  const moments = new Moments();
  const four = await images(device, 4);
  scope(() => {
    const onDevice = new Map([...state].map(([name, x]) => [name, ops.to(x, { device })]));
    const vision = new VisionTransformer(onDevice, { ...architecture.vision, dropPath: DROP_PATH });
    vision.training = true;
    const copies = ops.cat(Array<Tensor>(COPIES).fill(four));
    manualSeed(seed);
    noGrad(() => {
      for (let draw = 0; draw < draws; draw += COPIES)
        scope(() => {
          const forward = () => vision.forward(copies);
          const embeds = precision === 'bf16' ? autocast(device, 'bfloat16', forward) : forward();
          moments.addRows(ops.reshape(ops.select(embeds, 1, 0), [COPIES, -1]));
        });
    });
  });
  const found = new Map([['first tokens', differenceOf(moments.law(), expected('drop_path_first_tokens'))]]);
  for (const tensor of [...state.values(), four]) tensor.dispose();
  moments.dispose();
  return found;
}

/** Differences of the training images of two recorded rows: crop, flip and RandAugment. */
export async function lawOfAugmentation(draws: number, seed: number): Promise<Map<string, Difference>> {
  const { augmented_rows, rows, images } = recorded();
  const found = new Map<string, Difference>();
  for (const row of augmented_rows) {
    const image = await decodeRgb(join(path('data/images'), at(images, rows.indexOf(row))));
    const pixels = new Uint8Array(SIZE * SIZE * 3);
    const [sum, squares] = [new Float64Array(pixels.length), new Float64Array(pixels.length)];
    for (let position = 0; position < draws; position++) {
      trainTransform(image, SIZE, pixels, { seed, epoch: row, position });
      for (const [i, value] of pixels.entries()) {
        (sum[i] as number) += value;
        (squares[i] as number) += value * value;
      }
    }
    const mean = sum.map((value) => value / draws);
    const variance = squares.map((value, i) => (value - draws * (mean[i] as number) ** 2) / (draws - 1));
    found.set(`image of row ${row}`, differenceOf(lawOf({ draws, mean, variance }), expected(`augmented/${row}`)));
  }
  return found;
}
