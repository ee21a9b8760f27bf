// Turns the arguments of PyTorch's rebuild functions into TensorRefs, checking every number against the storage.
import { at, kindOf } from '../../../errors.js';
import { counted } from '../../../logging/text.js';
import { DTYPES, type DType } from '../../dtype.js';
import type { Budget, FileSource } from '../../file-source.js';
import { isRef, type OpaqueRef, type PickleValue, type StorageRef, type TensorRef } from '../types.js';
import { COST, type Rebuild, storageDtype, type TensorArguments } from './globals.js';
import { quote } from './zip.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** More dimensions than PyTorch allows in practice. */
const MOST_DIMENSIONS = 64;
const TENSOR_COST = 500;

/** A persistent id's content: ('storage', class, key, location, number of elements[, view of a legacy file]). */
export interface StorageId {
  dtype: DType;
  key: string;
  elements: number;
  view: PickleValue | undefined;
}

/** Gives a storage's place in the file; of a legacy file it is known, and set, only after the pickle. */
export type PlaceStorage = (id: StorageId, bytes: number) => { fileOffset: number; crc32?: number };

/** Collects the storages and tensors of one pickle. */
export class TensorRebuild implements Rebuild {
  readonly storages = new Map<string, Mutable<StorageRef>>();
  readonly #views = new Map<string, { view: Mutable<StorageRef>; root: StorageRef; offset: number }>();
  readonly #tensors = new Map<Mutable<TensorRef>, StorageRef>();

  constructor(
    readonly source: FileSource,
    readonly budget: Budget,
    readonly place: PlaceStorage,
  ) {}

  persistent(value: PickleValue): StorageRef | OpaqueRef {
    // ('module', class, file, source): how files before torch 1.6 name the class of a whole module. The source is dropped.
    if (Array.isArray(value) && value[0] === 'module' && isRef(value[1], 'opaque')) return value[1];
    const id = this.#storageId(value);
    const known = this.storages.get(id.key);
    if (known !== undefined) {
      if (known.dtype !== id.dtype || known.bytes !== id.elements * DTYPES[id.dtype].bytes) {
        this.source.damaged(`it describes the storage ${quote(id.key)} in two ways`);
      }
      return Array.isArray(id.view) ? this.#view(known, id.view) : known;
    }
    const bytes = id.elements * DTYPES[id.dtype].bytes;
    this.budget.spend(TENSOR_COST);
    const storage = { kind: 'storage', key: id.key, dtype: id.dtype, bytes, ...this.place(id, bytes) } as const;
    this.storages.set(id.key, storage);
    return Array.isArray(id.view) ? this.#view(storage, id.view) : storage;
  }

  /** Files from before torch 0.4 have storages that are parts of others: (key, offset, number of elements). */
  #view(root: StorageRef, [key, offset, elements]: PickleValue[]): StorageRef {
    const known = typeof key === 'string' ? this.#views.get(key) : undefined;
    if (known !== undefined && known.root === root) return known.view;
    const [start, count] = [this.#natural(offset, 'view offset'), this.#natural(elements, 'view length')];
    const size = DTYPES[root.dtype].bytes;
    if (typeof key !== 'string' || known !== undefined) {
      return this.#badTensor('a storage that is part of two others');
    }
    if ((start + count) * size > root.bytes) this.#badTensor(`a view past the end of its storage ${quote(root.key)}`);
    this.budget.spend(TENSOR_COST);
    const view: Mutable<StorageRef> = {
      kind: 'storage',
      key: `${root.key}/${key}`,
      dtype: root.dtype,
      bytes: count * size,
      fileOffset: root.fileOffset + start * size,
    };
    this.#views.set(key, { view, root, offset: start * size });
    return view;
  }

  tensor(storage: PickleValue | undefined, args: TensorArguments): TensorRef {
    if (!isRef(storage, 'storage')) return this.source.damaged('it has a tensor without a storage');
    const dtype = args.dtype ?? storage.dtype;
    const shape = this.#dimensions(args.size, 'size');
    const stride = this.#dimensions(args.stride, 'stride');
    const storageOffset = this.#natural(args.offset, 'offset');
    if (shape.length !== stride.length) this.#badTensor(`${shape.length} sizes and ${stride.length} strides`);
    this.#checkExtent(storage, dtype, shape, stride, storageOffset);
    return this.#keep(storage, {
      kind: 'tensor',
      dtype,
      shape,
      stride,
      storageOffset,
      fileOffset: storage.fileOffset,
      storageBytes: storage.bytes,
      requiresGrad: args.requiresGrad === true,
    });
  }

  parameter(value: PickleValue | undefined, requiresGrad: boolean): TensorRef {
    if (!isRef(value, 'tensor')) return this.source.damaged('it has a parameter without a tensor');
    const storage = this.#tensors.get(value);
    if (storage === undefined) return this.source.damaged('it has a parameter without a storage');
    return this.#keep(storage, { ...value, requiresGrad });
  }

  /** Copies the offsets of the storages into their tensors, once all are known. */
  setOffsets(): void {
    for (const { view, root, offset } of this.#views.values()) view.fileOffset = root.fileOffset + offset;
    for (const [tensor, storage] of this.#tensors) tensor.fileOffset = storage.fileOffset;
  }

  #keep(storage: StorageRef, tensor: Mutable<TensorRef>): TensorRef {
    this.budget.spend(TENSOR_COST + COST.element * 2 * tensor.shape.length);
    this.#tensors.set(tensor, storage);
    return tensor;
  }

  #storageId(value: PickleValue): StorageId {
    if (!Array.isArray(value) || value[0] !== 'storage') {
      return this.source.refuse('its pickle has an unknown reference where a storage belongs');
    }
    const [, type, key, , elements, view] = value;
    const dtype = isRef(type, 'opaque') ? storageDtype(type.name) : undefined;
    if (dtype === undefined || typeof key !== 'string' || key.length > 200) {
      return this.source.damaged('its pickle names a storage without type or key');
    }
    if (typeof elements !== 'number' || !Number.isSafeInteger(elements) || elements < 0) {
      return this.source.damaged(`the size of its storage ${quote(key)} is ${kindOf(elements)}`);
    }
    const bytes = elements * DTYPES[dtype].bytes;
    if (bytes > this.source.size) {
      this.source.damaged(
        `its storage ${quote(key)} has ${counted(elements, 'element')} of ${dtype} (${bytes} bytes), more than the whole file of ${this.source.size}`,
      );
    }
    return { dtype, key, elements, view };
  }

  #dimensions(value: PickleValue | undefined, what: string): number[] {
    if (!Array.isArray(value) || value.length > MOST_DIMENSIONS) return this.#badTensor(`no ${what}`);
    return value.map((entry) => this.#natural(entry, what));
  }

  #natural(value: PickleValue | undefined, what: string): number {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    return this.source.damaged(`it has a tensor whose ${what} is ${kindOf(value)}`);
  }

  /** Doubles are exact here up to 2^53, and what is larger stays too large in them. */
  #checkExtent(storage: StorageRef, dtype: DType, shape: number[], stride: number[], offset: number): void {
    let count = 1;
    let last = offset;
    for (const [axis, size] of shape.entries()) {
      count *= size;
      last += (size - 1) * at(stride, axis);
    }
    if (count === 0) last = offset - 1;
    if (!Number.isSafeInteger(count)) this.#badTensor(`the shape [${shape.join(', ')}]`);
    const needed = (last + 1) * DTYPES[dtype].bytes;
    if (!(needed <= storage.bytes)) {
      this.source.damaged(
        `a tensor of shape [${shape.join(', ')}] needs ${counted(needed, 'byte')} of its storage ${quote(storage.key)}, which holds ${storage.bytes}`,
      );
    }
  }

  #badTensor(what: string): never {
    this.source.damaged(`it has a tensor with ${what}`);
  }
}
