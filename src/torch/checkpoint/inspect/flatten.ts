// Looks into an opened checkpoint: every tensor and value by its path, and the state dict of the model.
import { UserError } from '../../../errors.js';
import { Budget } from '../../file-source.js';
import { scalarText } from '../read/globals.js';
import { quote } from '../read/zip.js';
import { type Checkpoint, isTensorRef, type PickleScalar, type PickleValue, type TensorRef } from '../types.js';

/** Bounds for files whose lists contain themselves or each other: a checkpoint has some thousand paths, ten levels deep. */
const DEEPEST = 1000;
const MOST_VISITS = 10_000_000;
/** Estimated bytes of memory for an entry of the result, without its path's text. */
const ENTRY_COST = 120;

export interface FlatCheckpoint {
  tensors: Map<string, TensorRef>;
  /** Text, numbers, booleans and None; bytes, dtypes and the like are left out. */
  values: Map<string, PickleScalar>;
}

/**
 * The content by path: keys and list positions joined by "/", in the file's order (`model/bias`, `optimizer/state/0/step`).
 * Throws a UserError when the structure is endless or absurdly large.
 */
export function flattenCheckpoint(checkpoint: Checkpoint): FlatCheckpoint {
  const flat: FlatCheckpoint = { tensors: new Map(), values: new Map() };
  const tooMuch = (what: string): never => {
    throw new UserError(`${checkpoint.path}: its content ${what}, far beyond any checkpoint. The file was refused.`);
  };
  const levels: Iterator<[string, PickleValue]>[] = [[['', checkpoint.root] as [string, PickleValue]].values()];
  const budget = new Budget(checkpoint.bytes, () => tooMuch('has too many parts'));
  let visits = 0;
  while (levels.length > 0) {
    const next = levels.at(-1)?.next();
    if (next === undefined || next.done === true) {
      levels.pop();
      continue;
    }
    const [path, value] = next.value;
    visits += 1;
    if (visits > MOST_VISITS) tooMuch(`has over ${MOST_VISITS} parts`);
    if (isTensorRef(value)) {
      budget.spend(ENTRY_COST + 2 * path.length);
      flat.tensors.set(path, value);
    } else if (value instanceof Map || Array.isArray(value)) {
      if (levels.length > DEEPEST) tooMuch(`is nested more than ${DEEPEST} levels deep`);
      levels.push(children(path, value));
    } else if (value === null || typeof value !== 'object') {
      budget.spend(ENTRY_COST + 2 * path.length);
      flat.values.set(path, value);
    }
  }
  return flat;
}

/** Lazily, so that a list of a million entries does not become a million pairs. */
function* children(
  path: string,
  value: Map<PickleScalar, PickleValue> | PickleValue[],
): Generator<[string, PickleValue]> {
  for (const [key, child] of value.entries()) {
    const name = scalarText(key);
    yield [path === '' ? name : `${path}/${name}`, child];
  }
}

/**
 * The model's tensors by name, in order: the mapping under `model`, or the file's root where that is itself a state dict.
 * Throws a UserError that says what was found instead.
 */
export function stateDictOf(checkpoint: Checkpoint): Map<string, TensorRef> {
  const { path, root } = checkpoint;
  if (!(root instanceof Map)) {
    throw new UserError(
      `${path}: it holds ${describe(root)} instead of a dict of tensors. Name a checkpoint with a state dict.`,
    );
  }
  const wrapped = root.has('model');
  const model = wrapped ? root.get('model') : root;
  if (!(model instanceof Map)) {
    throw new UserError(`${path}: its "model" is ${describe(model)}, not a state dict. Save model.state_dict() there.`);
  }
  const tensors = new Map<string, TensorRef>();
  for (const [name, value] of model) {
    if (typeof name !== 'string' || !isTensorRef(value)) {
      const keys = [...root.keys()].slice(0, 8).map(scalarText).join(', ').slice(0, 200);
      const where = wrapped ? 'in its "model"' : `it has no "model" (its keys are ${keys}), and`;
      const what = typeof name === 'string' ? `${describe(value)}, not a tensor` : 'not named by text';
      throw new UserError(`${path}: ${where} ${quote(scalarText(name))} is ${what}. Save a state dict under "model".`);
    }
    tensors.set(name, value);
  }
  if (tensors.size === 0) throw new UserError(`${path}: its state dict is empty. Name another checkpoint.`);
  return tensors;
}

function describe(value: PickleValue | undefined): string {
  if (value === undefined || value === null) return 'nothing (None)';
  if (value instanceof Map) return `a dict of ${value.size} entries`;
  if (Array.isArray(value)) return `a list of ${value.length} entries`;
  if (value instanceof Uint8Array) return 'bytes';
  if (typeof value === 'object') return value.kind === 'opaque' ? `a ${value.name}` : `a ${value.kind}`;
  return typeof value === 'string' ? 'text' : `a ${typeof value}`;
}
