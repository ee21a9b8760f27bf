// What a checkpoint's pickle may ask for by name, and what each name builds. Nothing here imports, calls or evaluates.
import { DTYPES, type DType } from '../../dtype.js';
import type { Budget, FileSource } from '../../file-source.js';
import {
  isRef,
  type OpaqueRef,
  type PickleScalar,
  type PickleValue,
  type StorageRef,
  type TensorRef,
} from '../types.js';
import { quote } from './zip.js';

/** What the container format (zip or legacy) and tensors.ts supply to the unpickler. */
export interface Rebuild {
  readonly source: FileSource;
  /** Charged for whatever is copied: a copy of something large costs a pickle only a few bytes. */
  readonly budget: Budget;
  /** The storage that a persistent id names. */
  storage(id: PickleValue): StorageRef;
  tensor(storage: PickleValue | undefined, args: TensorArguments): TensorRef;
  /** `tensor` with another requires_grad. */
  parameter(tensor: PickleValue | undefined, requiresGrad: boolean): TensorRef;
}

export interface TensorArguments {
  offset: PickleValue | undefined;
  size: PickleValue | undefined;
  stride: PickleValue | undefined;
  requiresGrad: PickleValue | undefined;
  /** Absent: the storage's. */
  dtype?: DType;
}

/** Estimated bytes of memory: what V8 takes for these, growth by doubling included. */
export const COST = {
  slot: 16,
  float: 40,
  array: 40,
  element: 20,
  map: 220,
  mapEntry: 64,
  string: 32,
  bytes: 100,
} as const;

const PLAIN_NUMBERS = 'Save plain numbers.';

type Construct = (rebuild: Rebuild, args: PickleValue[]) => PickleValue;

const dtypesByStorage = new Map<string, DType>(
  (Object.keys(DTYPES) as DType[]).map((dtype) => [DTYPES[dtype].storage, dtype]),
);

/** The element type of a storage class (`torch.FloatStorage`, `torch.cuda.HalfStorage`, `torch.storage.UntypedStorage`). */
export function storageDtype(name: string): DType | undefined {
  if (name === 'torch.storage.UntypedStorage' || name === 'torch.UntypedStorage') return 'uint8';
  const [, storage = ''] = /^torch\.(?:cuda\.)?(\w+)$/.exec(name) ?? [];
  return dtypesByStorage.get(storage);
}

/** Known to PyTorch and harmless, but of no use here: each is refused with its own reason. */
const UNSUPPORTED = new Map([
  ['torch._utils._rebuild_sparse_tensor', 'a sparse tensor'],
  ['torch._utils._rebuild_sparse_csr_tensor', 'a sparse tensor'],
  ['torch._utils._rebuild_nested_tensor', 'a nested tensor'],
  ['torch._utils._rebuild_qtensor', 'a quantised tensor'],
  ['torch._utils._rebuild_meta_tensor_no_storage', 'a tensor without data (meta device)'],
  ['torch._utils._rebuild_wrapper_subclass', 'a tensor of a subclass'],
  ['torch._utils._rebuild_device_tensor_from_numpy', 'a tensor saved by an XLA or similar device'],
  ['torch._utils._rebuild_device_tensor_from_cpu_tensor', 'a tensor saved by an XLA or similar device'],
  ['numpy.core.multiarray._reconstruct', 'a NumPy array'],
  ['numpy._core.multiarray._reconstruct', 'a NumPy array'],
]);

const tensorV2: Construct = (rebuild, [storage, offset, size, stride, requiresGrad]) =>
  rebuild.tensor(storage, { offset, size, stride, requiresGrad });

const list: Construct = (rebuild, [items]) => {
  if (items === undefined) return [];
  if (!Array.isArray(items))
    return rebuild.source.damaged('the pickle builds a set or size from something that is not a list');
  rebuild.budget.spend(COST.element * items.length);
  return [...items];
};

const mapping: Construct = (rebuild, [items]) => {
  if (items === undefined) return new Map();
  if (items instanceof Map) {
    rebuild.budget.spend(COST.mapEntry * items.size);
    return new Map(items);
  }
  if (!Array.isArray(items))
    return rebuild.source.damaged('the pickle builds a mapping from something that is not one');
  rebuild.budget.spend(COST.mapEntry * items.length);
  // Python 2 wrote OrderedDict as a list of pairs.
  return new Map(
    items.map((pair) => {
      if (!Array.isArray(pair) || pair.length !== 2)
        return rebuild.source.damaged('the pickle builds a mapping from something that is not pairs');
      const [key, value = null] = pair;
      return [dictKey(rebuild, key), value];
    }),
  );
};

const opaque =
  (name: string): Construct =>
  (rebuild, args) => {
    const long = args.length > 4 || args.some((arg) => typeof arg === 'string' && arg.length > 80);
    if (long) rebuild.source.refuse(`the pickle builds a ${name} with overlong arguments`);
    const shown = args.map((arg) => (typeof arg === 'object' && arg !== null ? '…' : String(arg))).join(', ');
    return { kind: 'opaque', name: `${name}(${shown})` };
  };

/** Of all classes' objects only these keep what BUILD sets on them. */
class Namespace extends Map<PickleScalar, PickleValue> {}

/** Names that stand for a call. */
const CONSTRUCTORS = new Map<string, Construct>([
  ['collections.OrderedDict', mapping],
  ['collections.Counter', mapping],
  ['collections.defaultdict', () => new Map()],
  ['argparse.Namespace', () => new Namespace()],
  ['builtins.set', list],
  ['builtins.frozenset', list],
  ['torch.Size', list],
  ['builtins.complex', opaque('complex')],
  ['torch.device', opaque('torch.device')],
  [
    'torch._utils._rebuild_tensor',
    (rebuild, [storage, offset, size, stride]) =>
      rebuild.tensor(storage, { offset, size, stride, requiresGrad: false }),
  ],
  ['torch._utils._rebuild_tensor_v2', tensorV2],
  [
    'torch._utils._rebuild_tensor_v3',
    (rebuild, args) => {
      const dtype = dtypeNamed(rebuild.source, args[6]);
      return rebuild.tensor(args[0], { offset: args[1], size: args[2], stride: args[3], requiresGrad: args[4], dtype });
    },
  ],
  [
    'torch._utils._rebuild_parameter',
    (rebuild, [data, requiresGrad]) => rebuild.parameter(data, requiresGrad === true),
  ],
  [
    'torch._utils._rebuild_parameter_with_state',
    (rebuild, [data, requiresGrad]) => rebuild.parameter(data, requiresGrad === true),
  ],
  ['torch.nn.parameter.Parameter', (rebuild, [data, requiresGrad]) => rebuild.parameter(data, requiresGrad !== false)],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['_codecs.encode', encode],
  ['builtins.bytearray', encode],
  [
    'numpy.dtype',
    ({ source }, [name]) => {
      if (typeof name !== 'string' || !/^[fiub][1248]$/.test(name)) {
        return source.fail(`it holds the unsupported NumPy dtype ${quote(String(name))}`, PLAIN_NUMBERS);
      }
      return { kind: 'opaque', name: `numpy.dtype(${name})` };
    },
  ],
  ['numpy.core.multiarray.scalar', numpyScalar],
  ['numpy._core.multiarray.scalar', numpyScalar],
]);

const PYTHON2_MODULES = new Map([['__builtin__', 'builtins']]);

/** The value of a name in the pickle. Throws a UserError for every name that is not on the list. */
export function resolveGlobal(source: FileSource, module: string, name: string): OpaqueRef {
  const full = `${PYTHON2_MODULES.get(module) ?? module}.${name}`;
  const unsupported = UNSUPPORTED.get(full);
  if (unsupported !== undefined) {
    source.fail(`it holds ${unsupported} (${full}), which is not supported`, 'Save plain dense tensors.');
  }
  const known =
    CONSTRUCTORS.has(full) ||
    storageDtype(full) !== undefined ||
    full === 'torch.Tensor' ||
    full === 'builtins.list' ||
    full === 'builtins.dict' ||
    full === 'builtins.int' ||
    (full.startsWith('torch.') && Object.hasOwn(DTYPES, full.slice('torch.'.length)));
  if (!known) {
    if (/^torch\.(?:cuda\.)?\w+Storage$/.test(full) || /^torch\.(?:u?int|float|q|bits)\w+$/.test(full)) {
      source.fail(`it holds elements of the unsupported type ${full}`, 'Convert them before saving.');
    }
    source.refuse(`the pickle asks for ${quoted(full)}, which no checkpoint needs`);
  }
  return { kind: 'opaque', name: full };
}

/** What calling `callee` gives (REDUCE), or an empty object of that class (NEWOBJ). */
export function construct(
  rebuild: Rebuild,
  callee: PickleValue | undefined,
  args: PickleValue[],
  bare: boolean,
): PickleValue {
  const name = isRef(callee, 'opaque') ? callee.name : undefined;
  const build = name === undefined ? undefined : CONSTRUCTORS.get(name);
  if (build === undefined) {
    rebuild.source.refuse(
      `the pickle calls ${name === undefined ? 'something without a name' : quoted(name)}, which no checkpoint needs`,
    );
  }
  if (bare && name?.startsWith('torch.') === true && name !== 'torch.Size') {
    rebuild.source.refuse(`the pickle makes a bare ${quoted(name)}, which no checkpoint needs`);
  }
  return build(rebuild, args);
}

/** BUILD: the fields of a Namespace are its content; `_metadata` of a state dict and other attributes are dropped. */
export function applyState(rebuild: Rebuild, target: PickleValue, state: PickleValue): void {
  if (isRef(target, 'opaque') && target.name.startsWith('numpy.dtype(')) {
    const order = Array.isArray(state) ? state[1] : undefined;
    if (order === '>') rebuild.source.fail('it holds a big-endian NumPy number', PLAIN_NUMBERS);
    return;
  }
  if (!(target instanceof Map) || !(state instanceof Map)) {
    rebuild.source.refuse('the pickle sets the state of something that has none');
  }
  for (const key of state.keys()) {
    if (typeof key !== 'string' || key.startsWith('__')) {
      rebuild.source.refuse(`the pickle sets the attribute ${quoted(String(key))}, which no checkpoint needs`);
    }
  }
  if (!(target instanceof Namespace)) return;
  rebuild.budget.spend(COST.mapEntry * state.size);
  for (const [key, value] of state) target.set(key, value);
}

/** A dict's key as a Map's. Tuples of scalars become their Python text; other keys are refused. */
export function dictKey({ source, budget }: Rebuild, key: PickleValue | undefined): PickleScalar {
  if (key === undefined || key === null) return null;
  if (typeof key !== 'object') return key;
  if (Array.isArray(key) && key.length <= 16 && key.every((part) => typeof part !== 'object' || part === null)) {
    for (const part of key) budget.spend(COST.string + (typeof part === 'string' ? 2 * part.length : 16));
    return `(${key.map((part) => (typeof part === 'string' ? `'${part}'` : scalarText(part))).join(', ')})`;
  }
  return source.refuse('the pickle has a dict key that is neither text nor number');
}

/** A scalar as Python's str() shows it, except that 1.0 is 1. */
export function scalarText(value: PickleValue): string {
  if (value === true) return 'True';
  if (value === false) return 'False';
  return value === null ? 'None' : String(value);
}

function quoted(name: string): string {
  return /^[\w.]{1,120}$/.test(name) ? name : quote(name);
}

function dtypeNamed(source: FileSource, value: PickleValue | undefined): DType {
  const name = isRef(value, 'opaque') ? value.name.replace(/^torch\./, '') : '';
  for (const dtype of Object.keys(DTYPES) as DType[]) if (dtype === name) return dtype;
  return source.damaged('the pickle has a tensor without an element type');
}

/** Tensors with Python attributes: (function, class, its arguments, attributes). */
function rebuildFromType(rebuild: Rebuild, [callee, type, args]: PickleValue[]): PickleValue {
  const name = isRef(type, 'opaque') ? type.name : '';
  const inner = isRef(callee, 'opaque') ? callee.name : '';
  if (!inner.startsWith('torch._utils._rebuild_') || !Array.isArray(args)) {
    return rebuild.source.refuse('the pickle rebuilds a tensor with a function that makes none');
  }
  if (name !== 'torch.Tensor' && name !== 'torch.nn.parameter.Parameter') {
    return rebuild.source.fail(`it holds a tensor of the unsupported class ${quoted(name)}`, 'Save plain tensors.');
  }
  return construct(rebuild, callee, args, false);
}

/** How protocol 2 writes bytes: text and the encoding that gives them. */
function encode({ source, budget }: Rebuild, [text, encoding]: PickleValue[]): PickleValue {
  if (text === undefined) return new Uint8Array();
  if (text instanceof Uint8Array) return text;
  if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1')) {
    return source.refuse('the pickle encodes something other than latin-1 text');
  }
  budget.spend(COST.bytes + 2 * text.length);
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

/** numpy.float64(0.5) and the like, as training scripts leave them in their records. */
function numpyScalar({ source }: Rebuild, [dtype, bytes]: PickleValue[]): PickleValue {
  const kind = isRef(dtype, 'opaque') ? /^numpy\.dtype\((\w\d)\)$/.exec(dtype.name)?.[1] : undefined;
  if (kind === undefined || !(bytes instanceof Uint8Array) || bytes.length !== Number(kind[1])) {
    return source.refuse('the pickle has a NumPy number of unknown type');
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (kind) {
    case 'f8':
      return view.getFloat64(0, true);
    case 'f4':
      return view.getFloat32(0, true);
    case 'b1':
      return view.getUint8(0) !== 0;
    default: {
      if (kind.startsWith('f'))
        return source.fail(`it holds a NumPy number of the unsupported type ${kind}`, PLAIN_NUMBERS);
      const length = 8 * bytes.length;
      const hex = Buffer.from(bytes).reverse().toString('hex');
      const value = kind.startsWith('i') ? BigInt.asIntN(length, BigInt(`0x${hex}`)) : BigInt(`0x${hex}`);
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
  }
}
