// Random generators: the streams behind dropout, randn and multinomial, with a state that can be saved and restored.
import { native } from './native.js';
import type { Handle } from './native-exports.js';
import { type Device, Tensor } from './tensor.js';

const forgotten = new FinalizationRegistry<Handle>((handle) => native().dispose(handle));

/** A random number generator of LibTorch; equal seeds give the numbers that Python's torch gives. */
export class Generator {
  readonly handle: Handle;

  private constructor(handle: Handle) {
    this.handle = handle;
    forgotten.register(this, handle);
  }

  /** A new CPU generator. Seeds here and below: integers below 2^52, or signed bigints of 64 bits. */
  static create(seed: number | bigint): Generator {
    return new Generator(native().createGenerator(seed));
  }

  /** The generator that operators use on `device` when they are given none. */
  static default(device: Device): Generator {
    return new Generator(native().defaultGenerator(device));
  }

  seed(seed: number | bigint): void {
    native().seedGenerator(this.handle, seed);
  }

  /** The state as a uint8 tensor, equal to torch.Generator.get_state(). */
  get state(): Tensor {
    return new Tensor(native().generatorState(this.handle));
  }
  set state(state: Tensor) {
    native().setGeneratorState(this.handle, state.handle);
  }

  dispose(): void {
    native().dispose(this.handle);
  }
}

/** Seeds the default generators of the CPU and of every GPU, as torch.manual_seed. */
export function manualSeed(seed: number | bigint): void {
  native().manualSeed(seed);
}
