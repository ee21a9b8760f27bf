// The ATen operators this program uses, under PyTorch's names. Shapes are in the order PyTorch documents them.
import { DTYPES, type DType, numelOf } from './dtype.js';
import type { Generator } from './generator.js';
import { native } from './native.js';
import { dtypeCode, operator, operatorInPlace, operatorOfMany, rethrow } from './operator.js';
import { type Device, type Tensor, tensorOf } from './tensor.js';

// ---- creation

const emptyOp = operator('aten::empty.memory_format');
const zerosOp = operator('aten::zeros');
const fullOp = operator('aten::full');
const arangeOp = operator('aten::arange.start_step');
const randnOp = operator('aten::randn.generator');

/** Where and of which type a new tensor is: float32 on the CPU unless said otherwise. */
export interface TensorOptions {
  dtype?: DType;
  device?: Device;
}
const tail = ({ dtype = 'float32', device = 'cpu' }: TensorOptions) => [dtypeCode(dtype), null, device, null] as const;

export const empty = (shape: readonly number[], options: TensorOptions = {}) => emptyOp(shape, ...tail(options));
export const zeros = (shape: readonly number[], options: TensorOptions = {}) => zerosOp(shape, ...tail(options));
export const full = (shape: readonly number[], value: number, options: TensorOptions = {}) =>
  fullOp(shape, value, ...tail(options));
/** The integers from 0 to `end` - 1, as int64. */
export const arange = (end: number, options: TensorOptions = {}) =>
  arangeOp(0, end, 1, ...tail({ dtype: 'int64', ...options }));
/**
 * Standard normal numbers of `generator`, or of the device's default one: after manualSeed, those of Python's torch.randn.
 */
export const randn = (shape: readonly number[], options: TensorOptions & { generator?: Generator } = {}) =>
  randnOp(shape, options.generator ?? null, ...tail(options));

/** A tensor with a copy of raw bytes, in row-major order. Throws when their number does not fit shape and dtype. */
export function fromBytes(bytes: Uint8Array, dtype: DType, shape: readonly number[]): Tensor {
  const expected = numelOf(shape) * DTYPES[dtype].bytes;
  if (bytes.length !== expected)
    throw new RangeError(`Expected ${expected} bytes for [${shape}] of ${dtype} but received ${bytes.length}.`);
  const made = empty(shape, { dtype });
  native().writeBytes(made.handle, bytes);
  return made;
}

/** Uninitialised, in memory of the host that a GPU reads and writes by itself. */
export const pinned = (shape: readonly number[], dtype: DType) => emptyOp(shape, dtypeCode(dtype), null, null, true);

const bytesOf = (array: Float32Array | BigInt64Array) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** A float32 tensor of these numbers. */
export function float32(values: Float32Array | readonly number[], shape: readonly number[] = [values.length]): Tensor {
  return fromBytes(bytesOf(values instanceof Float32Array ? values : Float32Array.from(values)), 'float32', shape);
}

/** An int64 tensor of these integers. */
export function int64(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Tensor {
  return fromBytes(bytesOf(BigInt64Array.from(Array.from(values, BigInt))), 'int64', shape);
}

// ---- conversion

const toOp = operator('aten::to.dtype_layout');

/** The tensor with another dtype or on another device; the same tensor under a new handle when nothing changes. */
export const to = (x: Tensor, { dtype, device }: TensorOptions) => toOp(x, dtype && dtypeCode(dtype), null, device);
/** The same without waiting: it is queued on the device, after all that is there. */
export const toLater = (x: Tensor, device: Device) => toOp(x, null, null, device, null, true);
const viewDtypeOp = operator('aten::view.dtype');
/** The same memory read as elements of another type; the last dimension shrinks or grows. */
export const viewAs = (x: Tensor, dtype: DType) => viewDtypeOp(x, dtypeCode(dtype));
export const contiguous = operator('aten::contiguous');
export const clone = operator('aten::clone');
export const detach = operator('aten::detach');

// ---- arithmetic

const addScalarOp = operator('aten::add.Scalar');
const addTensorOp = operator('aten::add.Tensor');
const subTensorOp = operator('aten::sub.Tensor');
const mulScalarOp = operator('aten::mul.Scalar');
const mulTensorOp = operator('aten::mul.Tensor');
const divScalarOp = operator('aten::div.Scalar');
const divTensorOp = operator('aten::div.Tensor');

export const add = (a: Tensor, b: Tensor | number) => (typeof b === 'number' ? addScalarOp(a, b) : addTensorOp(a, b));
export const sub = (a: Tensor, b: Tensor) => subTensorOp(a, b);
export const mul = (a: Tensor, b: Tensor | number) => (typeof b === 'number' ? mulScalarOp(a, b) : mulTensorOp(a, b));
export const div = (a: Tensor, b: Tensor | number) => (typeof b === 'number' ? divScalarOp(a, b) : divTensorOp(a, b));
export const addInPlace = operatorInPlace('aten::add_.Tensor');
const divScalarInPlace = operatorInPlace('aten::div_.Scalar');
const divTensorInPlace = operatorInPlace('aten::div_.Tensor');
/** a /= b */
export const divInPlace = (a: Tensor, b: Tensor | number) =>
  typeof b === 'number' ? divScalarInPlace(a, b) : divTensorInPlace(a, b);
export const subInPlace = operatorInPlace('aten::sub_.Tensor');
export const sum = operator('aten::sum');
export const abs = operator('aten::abs');
const maxAllOp = operator('aten::max');
export const maxAll = (x: Tensor) => maxAllOp(x);

// ---- shape

const viewOp = operator('aten::reshape');
const permuteOp = operator('aten::permute');
const sliceOp = operator('aten::slice.Tensor');
const selectOp = operator('aten::select.int');
const catOp = operator('aten::cat');
const stackOp = operator('aten::stack');
const indexSelectOp = operator('aten::index_select');
const splitOp = operatorOfMany('aten::split_with_sizes');
const chunkOp = operatorOfMany('aten::unbind.int');
const transposeOp = operator('aten::transpose.int');

export const reshape = (x: Tensor, shape: readonly number[]) => viewOp(x, shape);
export const permute = (x: Tensor, dims: readonly number[]) => permuteOp(x, dims);
export const transpose = (x: Tensor, a: number, b: number) => transposeOp(x, a, b);
/** x[..., start:end, ...] along `dim`, a view. */
export const slice = (x: Tensor, dim: number, start: number, end: number) => sliceOp(x, dim, start, end, 1);
/** x[..., index, ...] along `dim`, a view without that dimension. */
export const select = (x: Tensor, dim: number, index: number) => selectOp(x, dim, index);
export const cat = (tensors: readonly Tensor[], dim = 0) => catOp(tensors, dim);
export const stack = (tensors: readonly Tensor[], dim = 0) => stackOp(tensors, dim);
/** The rows `index` (int64, [n]) of x along `dim`, a copy. */
export const indexSelect = (x: Tensor, dim: number, index: Tensor) => indexSelectOp(x, dim, index);
/** Views of consecutive `sizes` along `dim`. */
export const split = (x: Tensor, sizes: readonly number[], dim = 0) => splitOp(x, sizes, dim);
/** Views along `dim`, one for each index. */
export const unbind = (x: Tensor, dim = 0) => chunkOp(x, dim);
const expandOp = operator('aten::expand');
export const expand = (x: Tensor, shape: readonly number[]) => expandOp(x, shape);
export const copyInPlace = operatorInPlace('aten::copy_');
/** x = value, everywhere. */
export const fillInPlace = operatorInPlace('aten::fill_.Scalar');

// ---- neural network

/** What follows a product in the same pass over its results, where there is such a kernel. */
export interface AfterLinear {
  /** gelu(x·weightᵀ + bias) */
  gelu?: boolean;
  /** (…, out), which is added in the end. */
  residual?: Tensor | undefined;
}

/**
 * x·weightᵀ + bias: (…, in) → (…, out); weight (out, in), plain or of `packLinear`. Not aten::linear, which is slower on
 * many CPUs: see native/linear.cc.
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor, { gelu = false, residual }: AfterLinear = {}): Tensor {
  try {
    return tensorOf(native().linear(x.handle, weight.handle, bias.handle, gelu, residual?.handle));
  } catch (error) {
    return rethrow(error);
  }
}
/**
 * The weight (out, in) in the layout that the CPU's kernels read, for `linear` and nothing else; the same tensor under a
 * new handle where there is no such layout. Gradients do not reach it.
 */
export function packLinear(weight: Tensor): Tensor {
  try {
    return tensorOf(native().packLinear(weight.handle));
  } catch (error) {
    return rethrow(error);
  }
}
export const matmul = operator('aten::matmul');
export const gelu = operator('aten::gelu');
export const conv2d = operator('aten::conv2d');
const embeddingOp = operator('aten::embedding');
export const embedding = (weight: Tensor, ids: Tensor) => embeddingOp(weight, ids);
const layerNormOp = operator('aten::layer_norm');
/** Normalised over the last dimension. */
export const layerNorm = (x: Tensor, weight: Tensor, bias: Tensor, eps: number) =>
  layerNormOp(x, weight.shape as number[], weight, bias, eps);
const attentionOp = operator('aten::scaled_dot_product_attention');
/** softmax(q·kᵀ/√d)·v over (B, heads, L, d), fused where the device can; `dropout` of the probabilities. */
export function attention(q: Tensor, k: Tensor, v: Tensor, dropout = 0): Tensor {
  if (dropout > 0) return attentionOp(q, k, v, null, dropout);
  try {
    return tensorOf(native().attend(q.handle, k.handle, v.handle));
  } catch (error) {
    return rethrow(error);
  }
}
/**
 * Attention of packed sequences on the CPU, without gradients: q (Q, H, d), k and v (T, H, d), ends of each sequence's
 * queries and tokens, int32 (n + 1) from 0 on → (Q, H, d).
 */
export function attentionPacked(q: Tensor, k: Tensor, v: Tensor, queryEnds: Tensor, tokenEnds: Tensor): Tensor {
  try {
    return tensorOf(native().attendPacked(q.handle, k.handle, v.handle, queryEnds.handle, tokenEnds.handle));
  } catch (error) {
    return rethrow(error);
  }
}
const dropoutOp = operator('aten::dropout');
/** Elements zeroed with probability `rate`, the others divided by 1 - rate; x itself when the rate is 0. */
export const dropout = (x: Tensor, rate: number) => (rate === 0 ? x : dropoutOp(x, rate, true));
export const softmax = operator('aten::softmax.int');
const normOp = operator('aten::linalg_vector_norm');
const clampMinOp = operator('aten::clamp_min');
/** x / max(‖x‖₂, 1e-12) along `dim`, as torch.nn.functional.normalize. */
export const normalize = (x: Tensor, dim: number) => divTensorOp(x, clampMinOp(normOp(x, 2, [dim], true), 1e-12));

// ---- selection

const topkOp = operatorOfMany('aten::topk');
/** The k largest along `dim`: [values, indices (int64)], largest first. */
export const topk = (x: Tensor, k: number, dim = -1) => topkOp(x, k, dim) as [Tensor, Tensor];
const bicubicOp = operator('aten::upsample_bicubic2d');
/** (N, C, H, W) resized by bicubic interpolation, without antialiasing and without aligned corners. */
export const upsampleBicubic = (x: Tensor, height: number, width: number) =>
  bicubicOp(x, [height, width], false, null, null);
const asStridedOp = operator('aten::as_strided');
/** A view of x's storage from its first element on, with this shape and these strides in elements. */
export const asStrided = (x: Tensor, shape: readonly number[], stride: readonly number[]) =>
  asStridedOp(x, shape, stride);

// ---- training

export const clampInPlace = operatorInPlace('aten::clamp_');
export const logSoftmax = operator('aten::log_softmax.int');
/** a == b, element by element, with broadcasting. */
export const equal = operator('aten::eq.Tensor');
/** a > b, element by element, with broadcasting. */
export const greater = operator('aten::gt.Tensor');
/** Along dimension `dim`, the elements that `index` (int64) names. */
export const gather = operator('aten::gather');
const amaxOp = operator('aten::amax');
/** The greatest element along dimension `dim`, which stays with size 1. */
export const amax = (x: Tensor, dim: number) => amaxOp(x, [dim], true);
export const maskedFill = operator('aten::masked_fill.Scalar');
const sumDimOp = operator('aten::sum.dim_IntList');
export const sumDim = (x: Tensor, dim: number, keepdim = false) => sumDimOp(x, [dim], keepdim);
export const mean = operator('aten::mean');
export const neg = operator('aten::neg');
const exponentialInPlace = operatorInPlace('aten::exponential_');
const argmaxOp = operator('aten::argmax');
/** The place of the largest along `dim`, int64. */
export const argmax = (x: Tensor, dim: number) => argmaxOp(x, dim, false);
/**
 * For each row of non-negative weights (n, m), not all of them 0, one column drawn in proportion: int64 (n, 1). Draws what
 * aten::multinomial draws, which on a GPU waits twice to check the weights.
 */
export function multinomial(weights: Tensor): Tensor {
  const waiting = empty(weights.shape, { dtype: weights.dtype, device: weights.device });
  exponentialInPlace(waiting);
  return argmaxOp(div(weights, waiting), 1, true);
}
const crossEntropyOp = operator('aten::cross_entropy_loss');
/** Mean over rows of -log softmax(logits)[label]: logits (n, classes), labels int64 (n). */
export const crossEntropy = (logits: Tensor, labels: Tensor) => crossEntropyOp(logits, labels);
export const bernoulliInPlace = operatorInPlace('aten::bernoulli_.float');
const foreachMulInPlace = operatorInPlace('aten::_foreach_mul_.Scalar');
const foreachAddInPlace = operatorInPlace('aten::_foreach_add_.List');
/** averages = momentum · averages + (1 - momentum) · values, all of them in two calls. */
export function movingAverageInPlace(averages: readonly Tensor[], values: readonly Tensor[], momentum: number): void {
  foreachMulInPlace(averages, momentum);
  foreachAddInPlace(averages, values, 1 - momentum);
}
const foreachNormOp = operatorOfMany('aten::_foreach_norm.Scalar');
/** The 2-norm of all elements of float32 tensors, []: one call for the norms of them all, one for theirs. */
export const normOfAll = (tensors: readonly Tensor[]) => normOp(stackOp(foreachNormOp(tensors, 2), 0), 2, null, false);
const backwardOp = operatorInPlace('aten::_backward');
/** Accumulates into the leaves the gradient of x weighted by `gradient`, which has x's shape. Blocks the thread. */
export const backward = (x: Tensor, gradient: Tensor) => backwardOp(x, [], gradient);
/** x > value, element by element. */
export const greaterThan = operator('aten::gt.Scalar');
/** a where `condition` holds, else b, with broadcasting. */
export const where = operator('aten::where.self');
