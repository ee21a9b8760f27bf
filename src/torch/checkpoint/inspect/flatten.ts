// Looks into an opened checkpoint: every tensor, value and object by its path.
import { UserError } from '../../../errors.js';
import { Budget } from '../../file-source.js';
import { scalarText } from '../read/globals.js';
import {
  type Checkpoint,
  isRef,
  isTensorRef,
  type OpaqueRef,
  type PickleScalar,
  type PickleValue,
  type TensorRef,
} from '../types.js';

/** Bounds for files whose lists contain themselves or each other: a checkpoint has some thousand paths, ten levels deep. */
const DEEPEST = 1000;
const MOST_VISITS = 10_000_000;
/** Estimated bytes of memory for an entry of the result, without its path's text. */
const ENTRY_COST = 120;

export interface FlatCheckpoint {
  tensors: Map<string, TensorRef>;
  /** Text, numbers, booleans and None; bytes are left out. */
  values: Map<string, PickleScalar>;
  /** Objects that were not made, by the names of their classes (`pathlib.PosixPath`); dtypes, devices. */
  opaque: Map<string, OpaqueRef>;
}

/**
 * The content by path: keys and list positions joined by "/", in the file's order (`model/bias`, `optimizer/state/0/step`).
 * Throws a UserError when the structure is endless or absurdly large.
 */
export function flattenCheckpoint(checkpoint: Checkpoint): FlatCheckpoint {
  const flat: FlatCheckpoint = { tensors: new Map(), values: new Map(), opaque: new Map() };
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
    } else if (isRef(value, 'opaque')) {
      budget.spend(ENTRY_COST + 2 * path.length);
      flat.opaque.set(path, value);
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
