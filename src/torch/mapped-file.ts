// A file mapped into memory, and tensors over its bytes without a copy.
import { messageOf, UserError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { native } from './native.js';
import type { Handle } from './native-exports.js';
import { operator } from './operator.js';
import { asStrided } from './ops.js';
import { scope, Tensor } from './tensor.js';

const clone = operator('aten::clone');
const viewAs = operator('aten::view.dtype');

const forgotten = new FinalizationRegistry<Handle>((handle) => native().dispose(handle));

/** A file whose bytes tensors share. It must be replaced, never truncated or overwritten, while any of them lives. */
export class MappedFile {
  readonly #handle: Handle;

  constructor(
    readonly path: string,
    handle: Handle,
    readonly size: number,
  ) {
    this.#handle = handle;
    forgotten.register(this, handle);
  }

  /**
   * The tensor whose first element is at byte `offset`, with `shape` and `stride` in elements. Over the mapping where
   * the offset is aligned to the element; else (legacy files) its bytes are copied. Throws when it is not in the file.
   */
  tensor(offset: number, dtype: DType, shape: readonly number[], stride: readonly number[]): Tensor {
    const { code, bytes } = DTYPES[dtype];
    if (offset % bytes === 0) return new Tensor(native().fromMapping(this.#handle, offset, code, shape, stride));
    // NaN where there are fewer strides than sizes: the addon refuses it.
    const last = shape.reduce((reach, size, d) => reach + (size - 1) * Number(stride[d]), 0);
    const count = shape.includes(0) ? 0 : last + 1;
    return scope(() => {
      const raw = new Tensor(native().fromMapping(this.#handle, offset, DTYPES.uint8.code, [count * bytes], [1]));
      return asStrided(viewAs(clone(raw), code), shape, stride);
    });
  }

  /** Gives the mapping up; it stays until the last tensor over it is freed. */
  close(): void {
    native().dispose(this.#handle);
  }
}

/** Maps a file privately: writing to its tensors changes no file. Throws a UserError when it cannot be opened or is empty. */
export function mapFile(path: string): MappedFile {
  const addon = native(); // its own sentence where there is no LibTorch
  try {
    const { handle, size } = addon.mapFile(path);
    return new MappedFile(path, handle, size);
  } catch (error) {
    const reason = messageOf(error).replace(/^mapFile: (cannot)?/, (_, cannot) => (cannot ? 'Cannot' : ''));
    throw new UserError(`${reason}. Name a readable file that is not empty.`, { cause: error });
  }
}
