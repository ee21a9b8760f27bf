// A checkpoint that is ready for use: opened once, its checksums compared, its tensors mapped into memory.
import { type MappedFile, mapFile } from '../mapped-file.js';
import type { Tensor } from '../tensor.js';
import { openCheckpoint, type Sharers, verifyStorages } from './read/open.js';
import { byteOffset, type Checkpoint, type TensorRef } from './types.js';

/** The file must be replaced, never truncated or overwritten, while any of its tensors lives. */
export class TensorFile {
  readonly #mapping: MappedFile;

  constructor(
    readonly checkpoint: Checkpoint,
    mapping: MappedFile,
  ) {
    this.#mapping = mapping;
  }

  /** The tensor on the CPU, without a copy where it is aligned (see MappedFile.tensor). Writing to it changes no file. */
  tensor(ref: TensorRef): Tensor {
    return this.#mapping.tensor(byteOffset(ref), ref.dtype, ref.shape, ref.stride);
  }

  /** Gives the mapping up; the system frees it with the last tensor over it. */
  close(): void {
    this.#mapping.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens the checkpoint `path`, compares its checksums and maps it. With
 * `sharers`, ranks that open the same file share the comparison (see verifyStorages).
 * Throws a UserError when it is damaged or not a checkpoint, as openCheckpoint and verifyStorages do.
 */
export async function openTensorFile(path: string, sharers?: Sharers): Promise<TensorFile> {
  const checkpoint = openCheckpoint(path);
  await verifyStorages(checkpoint, sharers);
  return new TensorFile(checkpoint, mapFile(path));
}
