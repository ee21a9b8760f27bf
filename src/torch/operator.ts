// Calling any ATen operator by its schema name, with tensors and plain values as arguments.
import { at, codeOf, messageOf, UserError } from '../errors.js';
import { DTYPES, type DType } from './dtype.js';
import { Generator } from './generator.js';
import { native } from './native.js';
import type { NativeResult } from './native-exports.js';
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

/**
 * Rethrows a native failure. Lack of memory is the one that a user can mend, so it becomes a UserError here; the caller
 * adds which setting needs less (isMemoryShort).
 */
export function rethrow(error: unknown): never {
  if (codeOf(error) === 'ERR_TORCH_MEMORY')
    throw new UserError(`Memory is short: ${messageOf(error).replace(/\.$/, '')}.`, { cause: error });
  throw error;
}

/** Replaces the tensors in `values`, which the caller must not use again, by their handles. */
type Operator = (values: unknown[]) => NativeResult;

/**
 * The operator's native call, looked up at the first call; `fits` checks the schema's return types once, then, so calls
 * need not.
 */
function lookUp(fullName: string, expected: string, fits: (returns: readonly string[]) => boolean): Operator {
  const dot = fullName.indexOf('.');
  const name = dot < 0 ? fullName : fullName.slice(0, dot);
  const overload = dot < 0 ? '' : fullName.slice(dot + 1);
  let id: number | undefined;
  const resolve = () => {
    const found = native().resolve(name, overload);
    if (!fits(found.returns))
      throw new TypeError(`Expected an operator of ${expected} but ${fullName} returns (${found.returns.join(', ')}).`);
    id = found.id;
    return id;
  };
  return (values) => {
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (typeof value === 'object' && value !== null) values[i] = lower(value);
    }
    try {
      const { invoke } = native();
      const op = id ?? resolve();
      // Spreading an array costs a thirteenth of a small operator.
      if (values.length === 2) return invoke(op, values[0], values[1]);
      if (values.length === 1) return invoke(op, values[0]);
      return values.length === 3 ? invoke(op, values[0], values[1], values[2]) : invoke(op, ...values);
    } catch (error) {
      return rethrow(error);
    }
  };
}

function lower(value: object): unknown {
  if (value instanceof Tensor || value instanceof Generator) return value.handle;
  if (Array.isArray(value)) return value.map((element) => (element instanceof Tensor ? element.handle : element));
  return value;
}

/**
 * The ATen operator `name` (`aten::add.Tensor`) that returns one tensor. Arguments are positional as in its schema,
 * keyword-only ones at the end; a missing one takes its default. Looked up at the first call.
 */
export function operator(name: string): (...values: Value[]) => Tensor {
  const call = lookUp(name, 'one tensor', ([first, second]) => first === 'Tensor' && second === undefined);
  return (...values) => tensorOf(call(values));
}

/** An operator that returns several tensors, or a list of them. */
export function operatorOfMany(name: string): (...values: Value[]) => Tensor[] {
  const call = lookUp(name, 'several tensors', (returns) =>
    returns.length === 1 ? returns[0] === 'Tensor[]' : returns.length > 0 && returns.every((type) => type === 'Tensor'),
  );
  return (...values) => (call(values) as NativeResult[]).map(tensorOf);
}

/** An operator of several results of which only the first, a tensor, is used. */
export function operatorOfFirst(name: string): (...values: Value[]) => Tensor {
  let returns: readonly string[] = [];
  const call = lookUp(name, 'a tensor and more', (types) => {
    returns = types;
    return types.length > 1 && types[0] === 'Tensor';
  });
  return (...values) => {
    const results = call(values) as NativeResult[];
    results.forEach((result, i) => {
      if (i > 0 && returns[i] === 'Tensor' && typeof result === 'number') native().dispose(result);
    });
    return tensorOf(at(results, 0));
  };
}

/** An operator that writes into its arguments (`add_`, `copy_`) and returns nothing new. */
export function operatorInPlace(name: string): (...values: Value[]) => void {
  const call = lookUp(name, 'no new result', (returns) => returns.length === 0);
  return (...values) => void call(values);
}
