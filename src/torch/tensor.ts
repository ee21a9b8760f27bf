// A tensor of LibTorch, and who owns it: scopes dispose what was made in them; the garbage collector is the net.
import { DTYPES, type DType, dtypeOfCode, numelOf } from './dtype.js';
import { native } from './native.js';
import type { Handle, NativeResult } from './native-exports.js';

/** As PyTorch writes a device. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

// Outside any scope a forgotten tensor is freed some time after the garbage collector has noticed, and not before the
// event loop turns: a loop that never waits needs scopes. A disposed handle never becomes valid again, so disposing it
// twice is harmless and nothing is unregistered.
const forgotten = new FinalizationRegistry<Handle>((handle) => native().dispose(handle));

/** Leaves a tensor to the garbage collector, which runs the sooner the more memory is reported to it. */
function trackExternal(tensor: Tensor): void {
  forgotten.register(tensor, tensor.handle);
  native().trackExternal(tensor.handle);
}

/** A scope that is running: the tensors it owns, and the scope around it. */
interface Scope {
  readonly made: Tensor[];
  readonly outer: Scope | undefined;
}

let current: Scope | undefined;

/** Makes the innermost scope the tensor's owner; outside all scopes, the garbage collector. */
function own(tensor: Tensor): void {
  if (current === undefined) trackExternal(tensor);
  else current.made.push(tensor);
}

/**
 * A tensor: a handle of the addon and its properties. Operators are functions of `ops.ts`.
 * Its memory is freed by `dispose()`, at the end of the `scope` it was made in, or some time after it became unreachable.
 */
export class Tensor {
  readonly handle: Handle;
  #shape: readonly number[] | undefined;

  /** Takes ownership of a handle that the addon returned. */
  constructor(handle: Handle) {
    this.handle = handle;
    own(this);
  }

  /** Sizes of the dimensions; [] for a single number. In-place operators that resize are not used in this program. */
  get shape(): readonly number[] {
    this.#shape ??= native().sizes(this.handle);
    return this.#shape;
  }

  /** Size of dimension `dim`; negative counts from the end. Throws RangeError when there is no such dimension. */
  size(dim: number): number {
    const size = this.shape.at(dim);
    if (size === undefined) throw new RangeError(`Expected a dimension of [${this.shape}] but received ${dim}.`);
    return size;
  }

  /** Number of elements. */
  get numel(): number {
    return numelOf(this.shape);
  }

  get strides(): readonly number[] {
    return native().strides(this.handle);
  }

  get dtype(): DType {
    const code = native().dtype(this.handle);
    const dtype = dtypeOfCode(code);
    if (dtype === undefined)
      throw new TypeError(`Expected a tensor of a plain dtype but its ScalarType code is ${code}.`);
    return dtype;
  }

  get device(): Device {
    return native().device(this.handle) as Device;
  }

  get requiresGrad(): boolean {
    return native().requiresGrad(this.handle);
  }
  set requiresGrad(flag: boolean) {
    native().setRequiresGrad(this.handle, flag);
  }

  /** The accumulated gradient of a leaf, or null. */
  get grad(): Tensor | null {
    const handle = native().grad(this.handle);
    return handle === null ? null : new Tensor(handle);
  }

  clearGrad(): void {
    native().clearGrad(this.handle);
  }

  /** Accumulates the gradient of this one-element tensor into the leaves it was computed from. Blocks the thread. */
  backward(options: { retainGraph?: boolean } = {}): void {
    native().backward(this.handle, options.retainGraph ?? false);
  }

  /** The only element as a number. Waits for the device. Throws when there is not exactly one, or it exceeds 2^52. */
  item(): number {
    const value = native().item(this.handle);
    if (typeof value === 'bigint') throw new RangeError(`Expected an integer below 2^52 but received ${value}.`);
    return Number(value);
  }

  /** The elements, in order, as raw bytes (a copy). Waits for the device. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.numel * DTYPES[this.dtype].bytes);
    native().toBytes(this.handle, bytes);
    return bytes;
  }

  /** The elements of a float32 tensor, in order (a copy). Waits for the device. */
  float32(): Float32Array {
    this.#expect('float32');
    return new Float32Array(this.bytes().buffer);
  }

  /** The elements of an int64 tensor as numbers, in order. Waits for the device. Throws beyond 2^53. */
  integers(): number[] {
    this.#expect('int64');
    return Array.from(new BigInt64Array(this.bytes().buffer), (value) => {
      const number = Number(value);
      if (!Number.isSafeInteger(number)) throw new RangeError(`Expected an integer below 2^53 but received ${value}.`);
      return number;
    });
  }

  #expect(dtype: DType): void {
    if (this.dtype !== dtype) throw new TypeError(`Expected a ${dtype} tensor but received one of ${this.dtype}.`);
  }

  /** Frees the tensor now. Views and the autograd graph keep what they need. A second call does nothing. */
  dispose(): void {
    native().dispose(this.handle);
  }

  /** Of `using`: frees the tensor at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  get disposed(): boolean {
    return !native().isLive(this.handle);
  }

  toString(): string {
    return this.disposed
      ? 'Tensor(disposed)'
      : `Tensor(shape=[${this.shape}], dtype=${this.dtype}, device=${this.device})`;
  }
}

/** Adds the tensors in `value` to `found`: itself, or those in arrays, maps, sets and plain objects. */
function collect(value: object, found: Set<Tensor>, seen: Set<object>): void {
  if (value instanceof Tensor) {
    found.add(value);
    return;
  }
  const prototype = Object.getPrototypeOf(value);
  const plain = prototype === Object.prototype || prototype === null;
  const iterable = Array.isArray(value) || value instanceof Set;
  if (seen.has(value) || !(plain || iterable || value instanceof Map)) return;
  seen.add(value);
  const elements: Iterable<unknown> = value instanceof Map ? value.values() : iterable ? value : Object.values(value);
  for (const element of elements) if (typeof element === 'object' && element !== null) collect(element, found, seen);
}

/** `result`, unless it is a promise: its continuation would run after the state that `name` set up is gone. */
function synchronous<T>(name: string, result: T): T {
  if (!(result instanceof Promise)) return result;
  result.catch(() => undefined); // refused already: its own failure would only distract
  throw new TypeError(`Expected a synchronous function for ${name} but received one that returns a promise.`);
}

/**
 * Runs `body` and disposes every tensor made in it, except those it returns (directly or in arrays, maps, sets and plain
 * objects; not inside instances of classes), which pass to the scope around this one, and those given to `keep`. `body`
 * must be synchronous: a promise would outlive its tensors, so it is refused.
 */
export function scope<T>(body: () => T): T {
  const here: Scope = { made: [], outer: current };
  let survivors = new Set<Tensor>();
  current = here;
  try {
    const result = synchronous('scope', body());
    const found = new Set<Tensor>();
    if (typeof result === 'object' && result !== null) collect(result, found, new Set());
    survivors = found;
    return result;
  } finally {
    current = here.outer;
    const handles: Handle[] = [];
    for (const tensor of here.made)
      if (survivors.has(tensor)) own(tensor);
      else handles.push(tensor.handle);
    native().disposeAll(handles);
  }
}

/**
 * Runs `body`, and lists the tensors it made that are still alive. They belong to the scope around this one: a model that
 * lists its weights this way can dispose them.
 */
export function recordMade<T>(body: () => T): { result: T; made: readonly Tensor[] } {
  const here: Scope = { made: [], outer: current };
  current = here;
  try {
    return { result: synchronous('recordMade', body()), made: here.made };
  } finally {
    current = here.outer;
    for (const tensor of here.made) own(tensor);
  }
}

/** Takes a tensor out of every scope: the caller disposes it, or finally the garbage collector. */
export function keep<T extends Tensor>(tensor: T): T {
  for (let owner = current; owner !== undefined; owner = owner.outer) {
    const index = owner.made.lastIndexOf(tensor);
    if (index < 0) continue;
    owner.made.splice(index, 1);
    trackExternal(tensor);
    break;
  }
  return tensor;
}

/** Runs `body`, which must be synchronous, without recording for autograd on this thread. */
export function noGrad<T>(body: () => T): T {
  const before = native().setGradEnabled(false);
  try {
    return synchronous('noGrad', body());
  } finally {
    native().setGradEnabled(before);
  }
}

/** Runs a synchronous `body` with autocast to `dtype` for the operators PyTorch's autocast lowers on that kind of device. */
export function autocast<T>(device: Device, dtype: 'bfloat16' | 'float16', body: () => T): T {
  native().enterAutocast(device, DTYPES[dtype].code);
  try {
    return synchronous('autocast', body());
  } finally {
    native().leaveAutocast();
  }
}

/** Tensors, generators and events that are alive in this process: for tests of leaks. */
export function liveHandles(): number {
  return native().liveHandles();
}

/** The tensor of a result that the schema calls `Tensor`. */
export function tensorOf(result: NativeResult): Tensor {
  if (typeof result !== 'number') throw new TypeError('Expected a tensor but the operator returned none.');
  return new Tensor(result);
}
