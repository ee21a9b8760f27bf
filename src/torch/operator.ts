// Calling any ATen operator by its schema name, with tensors and plain values as arguments.
import { codeOf, messageOf, UserError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { Generator } from './generator.js';
import { type NativeResult, native } from './native.js';
import { Tensor, tensorOf } from './tensor.js';

/** An argument: a tensor, a list, a number, …; `undefined` takes the schema's default, `null` is None. */
export type Value =
  | Tensor
  | Generator
  | number
  | bigint
  | boolean
  | string
  | null
  | undefined
  | readonly (Tensor | number | boolean | null)[];

/** The ScalarType code that the dispatcher takes for an argument `dtype`. */
export function dtypeCode(dtype: DType): number {
  return DTYPES[dtype].code;
}

function lower(value: Value): unknown {
  if (value instanceof Tensor || value instanceof Generator) return value.handle;
  if (Array.isArray(value)) return value.map((element) => (element instanceof Tensor ? element.handle : element));
  return value;
}

// Memory is the one native failure that a user can mend, so it becomes a sentence here.
function rethrow(error: unknown): never {
  if (codeOf(error) === 'ERR_TORCH_MEMORY')
    throw new UserError(
      `memory is short: ${messageOf(error)}; lower batch_size_test, or feature_memory, or use a machine with more memory`,
      { cause: error },
    );
  throw error;
}

interface Resolved {
  id: number;
  /** Types of the results, as the schema writes them. */
  returns: readonly string[];
}

function resolver(fullName: string): () => Resolved {
  const dot = fullName.indexOf('.');
  const name = dot < 0 ? fullName : fullName.slice(0, dot);
  const overload = dot < 0 ? '' : fullName.slice(dot + 1);
  let resolved: Resolved | undefined;
  return () => {
    resolved ??= native().resolve(name, overload);
    return resolved;
  };
}

function call(id: number, values: readonly Value[]): NativeResult {
  try {
    return native().invoke(id, ...values.map(lower));
  } catch (error) {
    return rethrow(error);
  }
}

function invoker(fullName: string): (values: readonly Value[]) => NativeResult {
  const resolve = resolver(fullName);
  return (values) => call(resolve().id, values);
}

/**
 * The ATen operator `name` (`aten::add.Tensor`) that returns one tensor. Arguments are positional as in its schema,
 * keyword-only ones at the end; a missing one takes its default. Looked up at the first call.
 */
export function operator(name: string): (...values: Value[]) => Tensor {
  const invoke = invoker(name);
  return (...values) => tensorOf(invoke(values));
}

/** An operator that returns several tensors, or a list of them. */
export function operatorOfMany(name: string): (...values: Value[]) => Tensor[] {
  const invoke = invoker(name);
  return (...values) => {
    const results = invoke(values);
    if (!Array.isArray(results)) throw new TypeError(`${name} was expected to return several tensors`);
    return results.map(tensorOf);
  };
}

/** An operator of several results of which only the first, a tensor, is wanted. */
export function operatorOfFirst(name: string): (...values: Value[]) => Tensor {
  const resolve = resolver(name);
  return (...values) => {
    const { id, returns } = resolve();
    const results = call(id, values);
    if (!Array.isArray(results)) throw new TypeError(`${name} was expected to return several results`);
    results.forEach((result, i) => {
      if (i > 0 && returns[i] === 'Tensor' && typeof result === 'number') native().dispose(result);
    });
    return tensorOf(results[0] ?? null);
  };
}

/** An operator that writes into one of its arguments (`add_`, `copy_`) and returns nothing new. */
export function operatorInPlace(name: string): (...values: Value[]) => void {
  const invoke = invoker(name);
  return (...values) => {
    if (invoke(values) !== null) throw new TypeError(`${name} was expected to write in place`);
  };
}
