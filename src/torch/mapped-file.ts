// A file mapped into memory, and tensors over its bytes without a copy.
import { accessSync, constants, statSync } from 'node:fs';
import { messageOf, UserError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { native } from './native.js';
import { operator } from './operator.js';
import * as ops from './ops.js';
import { keep, scope, Tensor } from './tensor.js';

const fromFile = operator('aten::from_file');

/**
 * A file whose bytes tensors share. It must be replaced, never truncated or overwritten, while any of them lives. Memory
 * holds what of it was read, until the tensors there are freed.
 */
export class MappedFile {
  readonly size: number;
  readonly #bytes: Tensor;

  constructor(
    readonly path: string,
    bytes: Tensor,
  ) {
    this.#bytes = keep(bytes);
    this.size = bytes.numel;
  }

  /**
   * The tensor whose first element is at byte `offset`, with `shape` and `stride` in elements. Over the mapping where
   * the offset is aligned to the element; else (legacy files) its bytes are copied. Throws when it is not in the file.
   */
  tensor(offset: number, dtype: DType, shape: readonly number[], stride: readonly number[]): Tensor {
    const { code, bytes } = DTYPES[dtype];
    // NaN where there are fewer strides than sizes, which is in no file.
    const last = shape.reduce((reach, size, d) => reach + (size - 1) * Number(stride[d]), 0);
    const length = (shape.includes(0) ? 0 : last + 1) * bytes;
    if (!(offset >= 0 && offset + length <= this.size))
      throw new RangeError(`The tensor [${shape}] at byte ${offset} extends beyond the end of ${this.path}.`);
    const mapped = this.#bytes.handle;
    if (offset % bytes === 0) return new Tensor(native().viewBytes(mapped, offset, code, shape, stride));
    return scope(() => {
      const raw = new Tensor(native().viewBytes(mapped, offset, DTYPES.uint8.code, [length], [1]));
      return ops.asStrided(ops.viewAs(ops.clone(raw), dtype), shape, stride);
    });
  }

  /** Gives the mapping up; it stays until the last tensor over it is freed. */
  close(): void {
    this.#bytes.dispose();
  }
}

/** Maps a file privately: writing to its tensors changes no file. Throws a UserError when it cannot be opened or is empty. */
export function mapFile(path: string): MappedFile {
  native(); // its own sentence where there is no LibTorch
  const refuse = (reason: string, cause?: unknown) =>
    new UserError(`${reason}. Name a readable file that is not empty.`, { cause });
  try {
    // Before it is opened: opening a named pipe would wait for a writer.
    const status = statSync(path);
    accessSync(path, constants.R_OK);
    if (!status.isFile() || status.size === 0) throw refuse(`${path} is not a regular file with content`);
    return new MappedFile(path, fromFile(path, false, status.size, DTYPES.uint8.code));
  } catch (error) {
    if (error instanceof UserError) throw error;
    const [, words] = /^[A-Z]+: (.*), \w+ /.exec(messageOf(error)) ?? [];
    throw refuse(`Cannot open ${path}: ${words ?? messageOf(error)}`, error);
  }
}
