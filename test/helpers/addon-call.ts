// Calls of torch.node's and image.node's functions as JavaScript may make them, past their types.
import assert from 'node:assert/strict';
import { imageAddon } from '#blip/data/images/image-addon.js';
import { native } from '#blip/torch/native.js';

function call(name: string, args: readonly unknown[]): unknown {
  const found: unknown = Object.entries({ ...native(), ...imageAddon() }).find(([key]) => key === name)?.[1];
  assert.ok(typeof found === 'function', `an addon exports ${name}`);
  return Reflect.apply(found, undefined, args);
}

/** A float32 tensor of zeros that no scope and no finalizer owns. */
export function bareTensor(sizes: readonly number[]): number {
  const { id } = native().resolve('aten::zeros', '');
  return Number(native().invoke(id, sizes));
}

/** The error of a call that must fail: one line, that begins with the function's name. */
export function failure(name: string, args: readonly unknown[], what: string): Error {
  try {
    call(name, args);
  } catch (error) {
    assert.ok(error instanceof Error, what);
    assert.ok(error.message.startsWith(`${name}: `) && !error.message.includes('\n'), `${what}: ${error.message}`);
    return error;
  }
  return assert.fail(`${what} was accepted`);
}
