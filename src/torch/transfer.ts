// Between host and device: arrays there and numbers back, without making the host wait for more than it needs.
import { DTYPES, type DType } from './dtype.js';
import { native } from './native.js';
import type { Handle } from './native-exports.js';
import { rethrow } from './operator.js';
import { type Device, keep, Tensor } from './tensor.js';

/** Numbers on the host: a uint8, int32, int64 or float32 tensor to be. */
export type HostData = Uint8Array | Int32Array | BigInt64Array | Float32Array;
/** The same, of one dimension unless a shape is given. */
export type HostArray = HostData | { data: HostData; shape: readonly number[] };

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
  const parts = Object.entries<HostArray>(arrays).map(([name, array]) => {
    const { data, shape } = 'shape' in array ? array : { data: array, shape: [array.length] };
    return { name, shape, dtype: dtypeOf(data), bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  });
  const send = () => {
    try {
      const codes = parts.map(({ dtype }) => DTYPES[dtype].code);
      const [bytes, shapes] = [parts.map((part) => part.bytes), parts.map(({ shape }) => shape)];
      return native().upload(bytes, codes, shapes, device);
    } catch (error) {
      return rethrow(error);
    }
  };
  const tensors = send().map((handle, i) => [parts[i]?.name, new Tensor(handle)]);
  return Object.fromEntries(tensors) as Record<Name, Tensor>;
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
    const { host, event } = native().startReading(tensors.map(({ handle }) => handle));
    this.#host = host.map((handle) => keep(new Tensor(handle)));
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
