// A file mapped into memory, and tensors that lie in it without a copy.
import { closeSync, openSync, readSync } from 'node:fs';
import { DTYPES, type DType } from './dtype.js';
import { type Handle, native } from './native.js';
import { asStrided, fromBytes } from './ops.js';
import { Tensor } from './tensor.js';

/** A file that tensors look into. It must be replaced, never truncated or overwritten, while any of them lives. */
export class MappedFile {
  readonly #handle: Handle;

  constructor(
    readonly path: string,
    handle: Handle,
    readonly size: number,
  ) {
    this.#handle = handle;
  }

  /**
   * The tensor whose first element is at byte `offset`, with `shape` and `stride` in elements. Over the mapping where
   * the offset is aligned to the element; else (legacy files) its bytes are copied.
   */
  tensor(offset: number, dtype: DType, shape: readonly number[], stride: readonly number[]): Tensor {
    const { code, bytes } = DTYPES[dtype];
    if (offset % bytes === 0) return new Tensor(native().fromMapping(this.#handle, offset, code, shape, stride));
    const last = shape.reduce((reach, size, d) => reach + (size - 1) * (stride[d] ?? 0), 0);
    const count = shape.includes(0) ? 0 : last + 1;
    const copy = new Uint8Array(count * bytes);
    const descriptor = openSync(this.path, 'r');
    try {
      for (let done = 0; done < copy.length; ) {
        const read = readSync(descriptor, copy, done, copy.length - done, offset + done);
        if (read === 0) throw new RangeError(`Expected ${copy.length} bytes at ${offset} of ${this.path}`);
        done += read;
      }
    } finally {
      closeSync(descriptor);
    }
    return asStrided(fromBytes(copy, dtype, [count]), shape, stride);
  }

  /** Gives the mapping up; it stays until the last tensor over it is freed. */
  close(): void {
    native().dispose(this.#handle);
  }
}

/** Maps a file privately: writing to its tensors changes no file. Throws when it cannot be opened or is empty. */
export function mapFile(path: string): MappedFile {
  const { handle, size } = native().mapFile(path);
  return new MappedFile(path, handle, size);
}
