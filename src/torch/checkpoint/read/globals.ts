// What the names in a checkpoint's pickle build: tensors and plain data for a few, for all others nothing but their name
// (names.ts says which are refused). Nothing here imports, calls or evaluates.
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
import { isData, isMember, quoted } from './names.js';
import { numpyDtype, numpyScalar, setByteOrder } from './numpy.js';

/** What the container format (zip or legacy) and tensors.ts supply to the unpickler. */
export interface Rebuild {
  readonly source: FileSource;
  /** Charged for whatever is copied: a copy of something large costs a pickle only a few bytes. */
  readonly budget: Budget;
  /** The storage that a persistent id names, or the class of a whole module. */
  persistent(id: PickleValue): StorageRef | OpaqueRef;
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
      return [dictKey(rebuild, key, new Map()), value];
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
  ['builtins.dict', mapping],
  ['builtins.list', list],
  ['builtins.tuple', list],
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
  ['builtins.getattr', member],
  ['torch.torch_version.TorchVersion', (_, [version = null]) => (typeof version === 'string' ? version : null)],
  ['numpy.dtype', (_, args) => numpyDtype(args)],
  ['numpy.core.multiarray._reconstruct', ofClass],
  ['numpy._core.multiarray._reconstruct', ofClass],
  ['copyreg._reconstructor', ofClass],
  ['copyreg.__newobj__', ofClass],
  ['copyreg.__newobj_ex__', ofClass],
  ['numpy.core.multiarray.scalar', (_, args) => numpyScalar(args)],
  ['numpy._core.multiarray.scalar', (_, args) => numpyScalar(args)],
]);

const PYTHON2_MODULES = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
]);

/** The value of a name in the pickle: the name. Throws a UserError for those that no checkpoint needs. */
export function resolveGlobal({ source, budget }: Rebuild, module: string, name: string): OpaqueRef {
  const real = PYTHON2_MODULES.get(module) ?? module;
  const full = `${real}.${name}`;
  const unsupported = UNSUPPORTED.get(full);
  if (unsupported !== undefined) {
    source.fail(`it holds ${unsupported} (${full}), which is not supported`, 'Save plain dense tensors.');
  }
  const known = CONSTRUCTORS.has(full) || storageDtype(full) !== undefined;
  if (!known) {
    if (/^torch\.(?:cuda\.)?\w+Storage$/.test(full)) {
      source.fail(`it holds elements of the unsupported type ${full}`, 'Convert them before saving.');
    }
    if (!isData(real, name)) source.refuse(`the pickle asks for ${quoted(full)}, which no checkpoint needs`);
  }
  budget.spend(COST.map + 4 * full.length);
  return { kind: 'opaque', name: full };
}

/** What calling `callee` gives (REDUCE), or an empty object of that class (NEWOBJ): of an unknown class its name alone. */
export function construct(
  rebuild: Rebuild,
  callee: PickleValue | undefined,
  args: PickleValue[],
  bare: boolean,
): PickleValue {
  const name = isRef(callee, 'opaque') ? callee.name : undefined;
  if (name === undefined || storageDtype(name) !== undefined || isDtype(name) || name === 'torch.Tensor') {
    rebuild.source.refuse(
      `the pickle calls ${name === undefined ? 'something without a name' : quoted(name)}, which no checkpoint needs`,
    );
  }
  const build = CONSTRUCTORS.get(name);
  if (build === undefined) return { kind: 'opaque', name };
  if (bare && name.startsWith('torch.') && !PLAIN_CLASSES.has(name)) {
    rebuild.source.refuse(`the pickle makes a bare ${quoted(name)}, which no checkpoint needs`);
  }
  return build(rebuild, args);
}

const PLAIN_CLASSES = new Set(['torch.Size', 'torch.torch_version.TorchVersion']);

const isDtype = (name: string) => name.startsWith('torch.') && Object.hasOwn(DTYPES, name.slice('torch.'.length));

/** Functions that make an empty object of the class that they are given: it is known by the class's name. */
function ofClass(_: Rebuild, [type]: PickleValue[]): PickleValue {
  return { kind: 'opaque', name: isRef(type, 'opaque') ? type.name : 'an object without a class' };
}

/** getattr, by which a pickle names a member of an enum or a class inside another one. */
function member({ source, budget }: Rebuild, [of, name]: PickleValue[]): PickleValue {
  if (!isRef(of, 'opaque') || typeof name !== 'string' || !isMember(of.name, name)) {
    return source.refuse('the pickle calls builtins.getattr, which no checkpoint needs');
  }
  budget.spend(COST.map + 4 * (of.name.length + name.length));
  return { kind: 'opaque', name: `${of.name}.${name}` };
}

/**
 * BUILD: the fields of a Namespace are its content; `_metadata` of a state dict and other attributes are dropped, as is the
 * state of an object that is only a name.
 */
export function applyState(rebuild: Rebuild, target: PickleValue, state: PickleValue): void {
  if (isRef(target, 'opaque')) {
    setByteOrder(target, state);
    if (state instanceof Map && state.has('_modules') && state.has('_parameters')) asMutable(target).isModule = true;
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

/** An object of the pickle under construction. */
export function asMutable(ref: OpaqueRef): { -readonly [K in keyof OpaqueRef]: OpaqueRef[K] } {
  return ref;
}

/**
 * A dict's key as a Map's. Tuples of scalars become their Python text, objects `<name>`, numbered where `taken` has one of
 * that name; dicts and lists of dicts are refused, as Python has no such keys.
 */
export function dictKey(
  { source, budget }: Rebuild,
  key: PickleValue | undefined,
  taken: ReadonlyMap<PickleScalar, PickleValue>,
): PickleScalar {
  if (key === undefined || key === null) return null;
  if (typeof key !== 'object') return key;
  if (key instanceof Map) return source.refuse('the pickle has a dict key that is neither text nor number');
  let text: string;
  if (Array.isArray(key) && key.length <= 16 && key.every((part) => typeof part !== 'object' || part === null)) {
    for (const part of key) budget.spend(COST.string + (typeof part === 'string' ? 2 * part.length : 16));
    return `(${key.map((part) => (typeof part === 'string' ? `'${part}'` : scalarText(part))).join(', ')})`;
  }
  if (Array.isArray(key)) text = 'tuple';
  else if (key instanceof Uint8Array) text = 'bytes';
  else text = key.kind === 'opaque' ? key.name : key.kind;
  budget.spend(COST.string + 2 * text.length + 32);
  return taken.has(`<${text}>`) ? `<${text} ${taken.size + 1}>` : `<${text}>`;
}

/** A scalar as Python's str() shows it, except that 1.0 is 1. */
export function scalarText(value: PickleValue): string {
  if (value === true) return 'True';
  if (value === false) return 'False';
  return value === null ? 'None' : String(value);
}

function dtypeNamed(source: FileSource, value: PickleValue | undefined): DType {
  const name = isRef(value, 'opaque') ? value.name.replace(/^torch\./, '') : '';
  for (const dtype of Object.keys(DTYPES) as DType[]) if (dtype === name) return dtype;
  if (name !== '')
    source.fail(`it holds elements of the unsupported type ${quoted(name)}`, 'Convert them before saving.');
  return source.damaged('the pickle has a tensor without an element type');
}

const PLAIN_TENSORS = new Set(['torch.Tensor', 'torch.nn.parameter.Parameter', 'torch.nn.parameter.Buffer']);

/** Tensors with Python attributes: (function, class, its arguments, attributes). */
function rebuildFromType(rebuild: Rebuild, [callee, type, args]: PickleValue[]): PickleValue {
  const inner = isRef(callee, 'opaque') ? callee.name : '';
  if (!isRef(type, 'opaque') || !inner.startsWith('torch._utils._rebuild_') || !Array.isArray(args)) {
    return rebuild.source.refuse('the pickle rebuilds a tensor with a function that makes none');
  }
  // What another class makes of its elements is not known.
  if (!PLAIN_TENSORS.has(type.name)) return { kind: 'opaque', name: type.name };
  return construct(rebuild, callee, args, false);
}

/** How protocol 2 writes bytes: text and the encoding that gives them. */
function encode({ source, budget }: Rebuild, [text, encoding]: PickleValue[]): PickleValue {
  if (text === undefined) return new Uint8Array();
  if (text instanceof Uint8Array || isRef(text, 'opaque')) return text;
  if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1')) {
    return source.refuse('the pickle encodes something other than latin-1 text');
  }
  budget.spend(COST.bytes + 2 * text.length);
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}
