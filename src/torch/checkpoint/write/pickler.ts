// A small pickler, protocol 2: plain data and tensors as torch.save describes them.
import { DTYPES, type DType, numelOf } from '../../dtype.js';

/** A dense tensor in row-major order. */
export interface WritableTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /**
   * The elements, little-endian. A function is called once, when the bytes are written, so that one tensor at a time is in
   * memory. Tensors with the identical array or function share one storage in the file.
   */
  readonly data: Uint8Array | (() => Uint8Array);
}

/** A Python float, where a JavaScript number alone would be taken for an int (`float(1)`). */
export class Float {
  constructor(readonly value: number) {}
}

/** A Python tuple; plain arrays become lists. */
export class Tuple {
  constructor(readonly items: readonly WritableValue[]) {}
}

export const float = (value: number): Float => new Float(value);
export const tuple = (items: readonly WritableValue[]): Tuple => new Tuple(items);

/** Integral numbers become int (unless wrapped in `float`), others float; Maps OrderedDict, plain objects dict. */
export type WritableValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Float
  | Tuple
  | WritableTensor
  | readonly WritableValue[]
  | ReadonlyMap<string | number, WritableValue>
  | { readonly [key: string]: WritableValue };

/** A storage that the pickle refers to; its key is its number, in order of first mention. */
export interface PickledStorage {
  readonly bytes: number;
  readonly data: WritableTensor['data'];
}

/** Pickles `value`. Throws a TypeError for what has no plain form in Python, and for tensors that contradict themselves. */
export function pickle(value: WritableValue): { bytes: Buffer; storages: PickledStorage[] } {
  const pickler = new Pickler();
  pickler.save(value);
  return { bytes: pickler.finish(), storages: [...pickler.storages.values()].map(({ storage }) => storage) };
}

class Pickler {
  readonly storages = new Map<WritableTensor['data'], { key: number; dtype: DType; storage: PickledStorage }>();
  readonly #chunks: Buffer[] = [Buffer.from([0x80, 2])];
  /** Numbers of what has been memoized: tensors by identity, names and repeated words by text. */
  readonly #memo = new Map<object | string, number>();

  finish(): Buffer {
    this.#op('.');
    return Buffer.concat(this.#chunks);
  }

  save(value: WritableValue): void {
    if (value === null) this.#op('N');
    else if (typeof value === 'boolean') this.#op(value ? '\x88' : '\x89');
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'bigint') this.#long(value);
    else if (typeof value === 'string') this.#string(value);
    else if (value instanceof Float) this.#float(value.value);
    else if (value instanceof Tuple) this.#tuple(value.items.map((item) => () => this.save(item)));
    else if (isArray(value)) this.#list(value);
    else if (isMap(value)) this.#orderedDict(value);
    else if (isTensor(value)) this.#tensor(value);
    else if (typeof value === 'object') this.#dict(value);
    else throw new TypeError(`A checkpoint cannot hold a value of type ${typeof value}.`);
  }

  #op(opcode: string, argument?: Buffer): void {
    this.#chunks.push(Buffer.from(opcode, 'latin1'));
    if (argument !== undefined) this.#chunks.push(argument);
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) this.#float(value);
    else if (value >= 0 && value < 256) this.#op('K', Buffer.from([value]));
    else if (value >= -(2 ** 31) && value < 2 ** 31) {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32LE(value);
      this.#op('J', bytes);
    } else this.#long(BigInt(value));
  }

  #float(value: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleBE(value);
    this.#op('G', bytes);
  }

  /** Little-endian two's complement in as few bytes as hold the sign. */
  #long(value: bigint): void {
    let length = 1;
    while (BigInt.asIntN(8 * length, value) !== value) length++;
    if (length > 255) throw new TypeError('A checkpoint cannot hold an integer of over 255 bytes.');
    const hex = BigInt.asUintN(8 * length, value)
      .toString(16)
      .padStart(2 * length, '0');
    this.#op('\x8a', Buffer.concat([Buffer.from([length]), Buffer.from(hex, 'hex').reverse()]));
  }

  #string(value: string): void {
    const bytes = Buffer.from(value);
    this.#op('X', uint32(bytes.length));
    this.#chunks.push(bytes);
  }

  #list(items: readonly WritableValue[]): void {
    this.#op(']');
    if (items.length === 0) return;
    this.#op('(');
    for (const item of items) this.save(item);
    this.#op('e');
  }

  #tuple(items: (() => void)[]): void {
    if (items.length > 3) this.#op('(');
    for (const item of items) item();
    this.#op([')', '\x85', '\x86', '\x87'][items.length] ?? 't');
  }

  #dict(fields: { readonly [key: string]: WritableValue }): void {
    this.#op('}');
    this.#entries(Object.entries(fields));
  }

  #orderedDict(map: ReadonlyMap<string | number, WritableValue>): void {
    this.#global('collections', 'OrderedDict');
    this.#op(')');
    this.#op('R');
    this.#entries([...map]);
  }

  #entries(entries: [string | number, WritableValue][]): void {
    if (entries.length === 0) return;
    this.#op('(');
    for (const [key, value] of entries) {
      this.save(key);
      this.save(value);
    }
    this.#op('u');
  }

  #global(module: string, name: string): void {
    this.#once(`${module} ${name}`, () => this.#op('c', Buffer.from(`${module}\n${name}\n`)));
  }

  /** Writes something once and refers to it afterwards. */
  #once(key: object | string, write: () => void): void {
    const known = this.#memo.get(key);
    if (known !== undefined) {
      this.#op('j', uint32(known));
      return;
    }
    write();
    this.#op('r', uint32(this.#memo.size));
    this.#memo.set(key, this.#memo.size);
  }

  #tensor(tensor: WritableTensor): void {
    this.#once(tensor, () => {
      const { key, count } = this.#storage(tensor);
      let step = count;
      const strides = tensor.shape.map((size) => {
        step = size === 0 ? step : step / size;
        return Math.max(step, 1);
      });
      const numbers = (values: readonly number[]) => () =>
        this.#tuple(values.map((value) => () => this.#number(value)));
      this.#global('torch._utils', '_rebuild_tensor_v2');
      this.#tuple([
        () => {
          this.#tuple([
            () => this.#once('"storage"', () => this.#string('storage')),
            () => this.#global('torch', DTYPES[tensor.dtype].storage),
            () => this.#string(String(key)),
            () => this.#once('"cpu"', () => this.#string('cpu')),
            () => this.#number(count),
          ]);
          this.#op('Q');
        },
        () => this.#number(0),
        numbers(tensor.shape),
        numbers(strides),
        () => this.#op('\x89'),
        () => this.#orderedDict(new Map()),
      ]);
      this.#op('R');
    });
  }

  #storage({ dtype, shape, data }: WritableTensor): { key: number; count: number } {
    const count = numelOf(shape);
    const bytes = count * DTYPES[dtype].bytes;
    if (!Number.isSafeInteger(count) || shape.some((size) => size < 0)) {
      throw new TypeError(`A tensor cannot have the shape [${shape.join(', ')}].`);
    }
    if (typeof data !== 'function' && data.length !== bytes) {
      throw new TypeError(`A ${dtype} tensor of shape [${shape.join(', ')}] has ${bytes} bytes, not ${data.length}.`);
    }
    const known = this.storages.get(data);
    if (known === undefined) {
      this.storages.set(data, { key: this.storages.size, dtype, storage: { bytes, data } });
      return { key: this.storages.size - 1, count };
    }
    if (known.dtype !== dtype || known.storage.bytes !== bytes) {
      throw new TypeError('Tensors that share their data must have one type and size.');
    }
    return { key: known.key, count };
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function isArray(value: WritableValue): value is readonly WritableValue[] {
  return Array.isArray(value);
}

function isMap(value: WritableValue): value is ReadonlyMap<string | number, WritableValue> {
  return value instanceof Map;
}

/** Bytes and functions are not WritableValues, so an object that has them as `data` is a tensor. */
function isTensor(value: object): value is WritableTensor {
  return 'data' in value && (value.data instanceof Uint8Array || typeof value.data === 'function');
}
