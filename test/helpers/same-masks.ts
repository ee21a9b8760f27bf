// What must be the same mask: in the forward and the backward pass of dropout, at all tokens of a sample that drop path
// skips, and in a block that is computed again. No law, but exact for any draw.
import { get } from '#blip/errors.js';
import { rowsByImage } from '#blip/model/itm-pairs.js';
import { attentionFor } from '#blip/model/packed-attention.js';
import { packTexts } from '#blip/model/packed-texts.js';
import { TextEncoder } from '#blip/model/text-encoder.js';
import { VisionTransformer } from '#blip/model/vision-transformer.js';
import { manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { autocast, noGrad, scope, type Tensor } from '#blip/torch/tensor.js';
import { upload } from '#blip/torch/transfer.js';
import type { LawOptions } from './law.js';
import { linearArchitecture, linearState, pathPlaces, RATES, UNIT } from './linear-model.js';

type Where = Pick<LawOptions, 'device' | 'precision' | 'seed'>;

const IMAGES = 4;
const TEXTS = 32;
/** What the hidden states are a sum over: one of the factors at every place that drops. */
const SUMMED = /embeddings\.LayerNorm\.bias$|self\.value\.bias$|output\.dense\.bias$/;

const encode = <T>({ device, precision }: Where, body: () => T): T =>
  precision === 'bf16' ? autocast(device, 'bfloat16', body) : body();

function stateOn({ device }: Where): Map<string, Tensor> {
  return new Map([...linearState(linearArchitecture(1))].map(([name, x]) => [name, ops.to(x, { device })]));
}

/**
 * A weighted sum of the text encoder's hidden states in multimodal mode, with dropout everywhere, and Euler's sum of its
 * gradients times their parameters. They are equal when every mask of the backward pass is that of the forward pass.
 */
export function sumAndEulersSum(where: Where): { sum: number; euler: number } {
  const { device, precision, seed } = where;
  return scope(() => {
    const { text: sizes, vision } = linearArchitecture(1);
    const state = stateOn(where);
    const encoder = new TextEncoder(state, sizes);
    const dtype = precision === 'bf16' ? 'bfloat16' : 'float32';
    const attend = attentionFor(sizes, device, dtype, { gradients: true });
    encoder.mode = { attend, hiddenDropout: RATES.hidden, attentionDropout: RATES.attention };
    const parameters = [...state].filter(([name]) => name.startsWith('text_encoder.') && SUMMED.test(name));
    for (const [, parameter] of parameters) parameter.requiresGrad = true;
    manualSeed(seed);
    const lengths = Array.from({ length: TEXTS }, (_, i) => (i < TEXTS / 2 ? 2 : 5));
    const texts = packTexts(
      lengths.map((length) => new Int32Array(length)),
      device,
    );
    const imageOfText = lengths.map((_, i) => i % IMAGES);
    const imageOfToken = lengths.flatMap((length, i) => Array<number>(length).fill(i % IMAGES));
    const rows = (images: number[]) => upload(device, rowsByImage(Int32Array.from(images), IMAGES));
    const embeds = ops.zeros([IMAGES, 5, vision.width], { device });
    const hidden = encode(where, () =>
      encoder.forwardPairs(encoder.stem(texts), texts.packing, {
        keysValues: encoder.imageKeysValues(embeds),
        rows: rows(imageOfToken),
        firstRows: rows(imageOfText),
      }),
    );
    const float = ops.to(hidden, { dtype: 'float32' });
    const sum = ops.sum(ops.mul(float, ops.randn(float.shape, { device })));
    sum.backward();
    const euler = parameters.reduce((total, [, parameter]) => {
      const { grad } = parameter;
      return total + (grad ? ops.sum(noGrad(() => ops.mul(grad, parameter))).item() : 0);
    }, 0);
    return { sum: sum.item(), euler };
  });
}

/**
 * Of samples that pass the vision encoder with drop path: how many each of `pathPlaces` kept, and what it added to a token,
 * times 1 - rate: `0.0`, `1.0`, or both where a sample's tokens differ.
 */
export function pathsOfTokens(where: Where, samples: number): { kept: number[]; values: Set<string> } {
  return scope(() => {
    const vision = new VisionTransformer(stateOn(where), linearArchitecture(1).vision);
    vision.training = true;
    manualSeed(where.seed);
    const images = ops.zeros([samples, 3, 32, 32], { device: where.device });
    const embeds = noGrad(() => encode(where, () => vision.forward(images)));
    const [tokens, width] = [embeds.size(1), embeds.size(2)];
    const flat = ops.to(embeds, { dtype: 'float32', device: 'cpu' }).float32();
    const values = new Set<string>();
    const kept = pathPlaces.map(() => 0);
    for (let sample = 0; sample < samples; sample++)
      for (const [p, { element, rate }] of pathPlaces.entries()) {
        const added = Array.from({ length: tokens }, (_, token) => {
          const x = (i: number) => flat[(sample * tokens + token) * width + i] ?? Number.NaN;
          return (((x(element) - x(1)) / (x(0) - x(1))) * UNIT * (1 - rate)).toFixed(1);
        });
        values.add([...new Set(added)].join(' or '));
        if (added[0] === '1.0') kept[p] = (kept[p] ?? 0) + 1;
      }
    return { kept, values };
  });
}

/** The gradient of every block's biases, with the last `checkpointed` blocks computed again in the backward pass. */
export function pathGradients(where: Where, checkpointed: number): number[] {
  return scope(() => {
    const state = stateOn(where);
    const vision = new VisionTransformer(state, linearArchitecture(1).vision);
    vision.training = true;
    const biases = [...Array(4).keys()].flatMap((i) =>
      ['attn.proj', 'mlp.fc2'].map((name) => get(state, `visual_encoder.blocks.${i}.${name}.bias`)),
    );
    for (const bias of biases) bias.requiresGrad = true;
    manualSeed(where.seed);
    const images = ops.zeros([16, 3, 32, 32], { device: where.device });
    const { embeds, backward } = encode(where, () => vision.forwardCheckpointed(images, checkpointed));
    const weights = ops.randn(embeds.shape, { device: where.device });
    ops.sum(ops.mul(ops.to(embeds, { dtype: 'float32' }), weights)).backward();
    encode(where, backward);
    return biases.flatMap(({ grad }) => (grad ? [...ops.to(grad, { device: 'cpu' }).float32()] : []));
  });
}
