// Weights of a model that no checkpoint gives: as the reference initialises them, from the default random generator.
import { at, get } from '../errors.js';
import type { DType } from '../torch/dtype.js';
import { operatorInPlace } from '../torch/operator.js';
import * as ops from '../torch/ops.js';
import { scope, type Tensor } from '../torch/tensor.js';
import type { StateDictEntry } from './state-dict.js';

/** Temperature of the similarities before training. Source: BLIP_Retrieval. */
export const INITIAL_TEMPERATURE = 0.07;

const uniformInPlace = operatorInPlace('aten::uniform_');
const erfinvInPlace = operatorInPlace('aten::erfinv_');
const mulInPlace = operatorInPlace('aten::mul_.Scalar');

/**
 * Normal numbers of standard deviation 0.02; the bounds of ±2 that timm truncates at are 100 deviations away. Only the
 * infinite ones reach them: one uniform number in 2^24 is -1 exactly, some in every model of base size.
 */
function truncatedNormal(shape: readonly number[]): Tensor {
  return scope(() => {
    const x = ops.empty(shape);
    uniformInPlace(x, -1, 1);
    erfinvInPlace(x);
    mulInPlace(x, 0.02 * Math.SQRT2);
    ops.clampInPlace(x, -2, 2);
    return x;
  });
}

function normal(shape: readonly number[], deviation: number): Tensor {
  return scope(() => ops.mul(ops.randn(shape), deviation));
}

/** PyTorch's default of Linear and Conv2d: uniform within ±1/√inputs. */
function defaultUniform(shape: readonly number[], inputs: number): Tensor {
  const x = ops.empty(shape);
  const bound = 1 / Math.sqrt(inputs);
  uniformInPlace(x, -bound, bound);
  return x;
}

/**
 * The initial value of one entry of the model's state dict, on the CPU. Momentum copies are the caller's: they equal
 * their online twins. `inputs` is the number of inputs of the layer whose weight or bias this is,
 * `initializerRange` the text encoder's.
 */
export function initialValue([name, shape, dtype]: StateDictEntry, inputs: number, initializerRange = 0.02): Tensor {
  const constant = (value: number, type: DType = dtype) => ops.full(shape, value, { dtype: type });
  if (name === 'temp') return constant(INITIAL_TEMPERATURE);
  if (name === 'idx_queue') return constant(-100);
  if (name === 'ptr_queue') return constant(0);
  if (name === 'image_queue' || name === 'text_queue') return scope(() => ops.normalize(ops.randn(shape), 0));
  if (name.endsWith('position_ids')) return scope(() => ops.reshape(ops.arange(at(shape, shape.length - 1)), shape));
  if (/norm\d?\.weight$/i.test(name)) return constant(1);
  if (/norm\d?\.bias$/i.test(name)) return constant(0);
  if (/^(vision_proj|text_proj|itm_head)|patch_embed/.test(name)) return defaultUniform(shape, inputs);
  if (name.endsWith('.bias')) return constant(0);
  return name.startsWith('visual_encoder') ? truncatedNormal(shape) : normal(shape, initializerRange);
}

/** Number of inputs of each layer, by the name of its weight or bias. */
export function inputsOf(entries: readonly StateDictEntry[]): (name: string) => number {
  const shapes = new Map(entries.map(([name, shape]) => [name, shape]));
  return (name) => {
    const weightShape = get(shapes, name.replace(/\.bias$/, '.weight'));
    return weightShape.slice(1).reduce((product, size) => product * size, 1);
  };
}
