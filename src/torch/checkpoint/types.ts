// What a checkpoint holds once it is read: plain data, and references to tensor bytes that stay in the file.
import { DTYPES, type DType } from '../dtype.js';

/** A range of bytes in the file that one or more tensors view; not read when a checkpoint is opened. */
export interface StorageRef {
  readonly kind: 'storage';
  readonly key: string;
  /** Element type that torch.save recorded for it (`uint8` for an untyped storage). */
  readonly dtype: DType;
  /** Length in bytes. */
  readonly bytes: number;
  /** Position of its first byte in the file. Zip files align it to 64 (or not at all, if other tools made them); legacy files do not align. */
  readonly fileOffset: number;
  /** CRC-32 of its bytes, by the zip directory; absent in legacy files and in those written without checksums. */
  readonly crc32?: number;
}

/** A tensor in the file, checked to lie inside its storage, as the storage inside the file. */
export interface TensorRef {
  readonly kind: 'tensor';
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** In elements, never negative; 0 for expanded dimensions. */
  readonly stride: readonly number[];
  /** First element, in elements from the storage's start. */
  readonly storageOffset: number;
  /** Position of the storage (not of the first element) in the file, in bytes. */
  readonly fileOffset: number;
  readonly storageBytes: number;
  readonly requiresGrad: boolean;
}

/** The name of something that this program does not use: a dtype, a device, a class, an object of a class. */
export interface OpaqueRef {
  readonly kind: 'opaque';
  readonly name: string;
  /** Whether it is a whole torch.nn.Module. */
  readonly isModule?: boolean;
}

export type PickleScalar = string | number | bigint | boolean | null;

/** Dicts become Maps in their order, lists, tuples and sets arrays, integers beyond 2^53 bigints, bytes Uint8Arrays. */
export type PickleValue =
  | PickleScalar
  | Uint8Array
  | PickleValue[]
  | Map<PickleScalar, PickleValue>
  | TensorRef
  | StorageRef
  | OpaqueRef;

export interface Checkpoint {
  readonly path: string;
  /** How it is written: by torch.save, as a zip file or as it was before PyTorch 1.6, or as safetensors. */
  readonly format: 'zip' | 'legacy' | 'safetensors';
  readonly root: PickleValue;
  /** The free-text fields of a safetensors file. */
  readonly metadata?: ReadonlyMap<string, string>;
  /** Every storage that the pickle names, in order of first mention. */
  readonly storages: readonly StorageRef[];
  /** Size of the file in bytes when it was opened. */
  readonly bytes: number;
  /** Whether the checksums of all storages have been compared already (see openCheckpoint). */
  readonly verified: boolean;
}

/** Whether `value` is a reference of that kind. */
export function isRef<K extends 'tensor' | 'storage' | 'opaque'>(
  value: PickleValue | undefined,
  kind: K,
): value is Extract<PickleValue, { kind: K }> {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind;
}

export function isTensorRef(value: PickleValue | undefined): value is TensorRef {
  return isRef(value, 'tensor');
}

/** Where a tensor's first element lies in the file, in bytes. */
export function byteOffset({ fileOffset, storageOffset, dtype }: TensorRef): number {
  return fileOffset + storageOffset * DTYPES[dtype].bytes;
}
