// Between host and device: arrays there and numbers back, without making the host wait for more than it needs.
import type { DType } from './dtype.js';
import { native } from './native.js';
import type { Handle } from './native-exports.js';
import * as ops from './ops.js';
import { type Device, keep, scope, type Tensor } from './tensor.js';

/** Numbers on the host: a uint8, int32, int64 or float32 tensor to be. */
export type HostData = Uint8Array | Int32Array | BigInt64Array | Float32Array;
/** The same, of one dimension unless a shape is given. */
export type HostArray = HostData | { data: HostData; shape: readonly number[] };

/** Of each tensor in a block of them, in bytes: the most that a kernel loads at once. */
const ALIGNMENT = 16;

function dtypeOf(data: HostData): DType {
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof BigInt64Array) return 'int64';
  return data instanceof Float32Array ? 'float32' : 'uint8';
}

/**
 * A contiguous tensor on `device` for each array, with a copy of its elements. On a GPU all of them travel in one copy, and
 * nobody waits for it: what one step needs should go in one call.
 */
export function upload<Name extends string>(device: Device, arrays: Record<Name, HostArray>): Record<Name, Tensor> {
  let size = 0; // of a block that holds them all
  const parts = Object.entries<HostArray>(arrays).map(([name, array]) => {
    const { data, shape } = 'shape' in array ? array : { data: array, shape: [array.length] };
    const start = size;
    size += Math.ceil(data.byteLength / ALIGNMENT) * ALIGNMENT;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { name, shape, dtype: dtypeOf(data), bytes, start };
  });
  const named = (tensors: Tensor[]) =>
    Object.fromEntries(tensors.map((tensor, i) => [parts[i]?.name, tensor])) as Record<Name, Tensor>;
  if (device === 'cpu') return named(parts.map(({ bytes, dtype, shape }) => ops.fromBytes(bytes, dtype, shape)));
  return scope(() => {
    const pinned = ops.pinned([size], 'uint8');
    for (const { start, bytes } of parts)
      native().writeBytes(ops.slice(pinned, 0, start, start + bytes.length).handle, bytes);
    // The allocator keeps the pinned memory until the copy is done; work that is queued later finds it done.
    const block = ops.toLater(pinned, device);
    return named(
      parts.map(({ start, bytes, dtype, shape }) =>
        ops.reshape(ops.viewAs(ops.slice(block, 0, start, start + bytes.length), dtype), shape),
      ),
    );
  });
}

const forgotten = new FinalizationRegistry<Handle>((event) => native().dispose(event));

/**
 * Numbers on their way from the device. Reading a tensor itself waits for all that is queued; this waits for what was
 * queued before the reading was begun, and meanwhile the device can be given more to do.
 */
export class Reading {
  readonly #host: readonly Tensor[];
  readonly #event: Handle | null;

  /** Begins to read these tensors, of one device; they may be disposed at once. The caller finishes or disposes the reading. */
  constructor(tensors: readonly Tensor[]) {
    const [device = 'cpu', other] = new Set(tensors.map((tensor) => tensor.device));
    if (other !== undefined)
      throw new TypeError(`Expected tensors of one device but received some of ${device} and of ${other}.`);
    const read = (tensor: Tensor) => {
      if (device === 'cpu') return ops.detach(tensor);
      const host = ops.pinned(tensor.shape, tensor.dtype);
      ops.copyInPlace(host, ops.detach(tensor), true);
      return host;
    };
    this.#host = scope(() => tensors.map(read)).map(keep);
    const event = device === 'cpu' ? null : native().recordEvent(device);
    this.#event = event;
    if (event !== null) forgotten.register(this, event);
  }

  /** The elements of each tensor as raw bytes. Waits until they are there, and disposes the reading. */
  finish(): Uint8Array[] {
    try {
      if (this.#event !== null) native().waitFor(this.#event);
      return this.#host.map((tensor) => tensor.bytes());
    } finally {
      this.dispose();
    }
  }

  /** `finish` of float32 tensors. */
  finishFloat32(): Float32Array[] {
    return this.finish().map(({ buffer }) => new Float32Array(buffer));
  }

  dispose(): void {
    for (const tensor of this.#host) tensor.dispose();
    if (this.#event !== null) native().dispose(this.#event);
  }
}
