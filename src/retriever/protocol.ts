// What the retriever and the thread of its model say to each other, and errors on their way between them.
import { codeOf, messageOf, UserError } from '../errors.js';
import type { VisionName } from '../model/architecture.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

/** What the thread is started with. */
export interface ModelSetup {
  /** The checkpoint, a file of this machine. */
  path: string;
  /** Undefined: CUDA where there is a GPU, else the CPU. */
  device: Device | undefined;
  precision: Precision;
  /** LibTorch's; undefined: as LibTorch has it. */
  threads: number | undefined;
  maxPixels: number | undefined;
}

/** What the thread says of the model once that is loaded. */
export interface ModelFacts {
  device: Device;
  vit: VisionName;
  imageSize: number; // pixels
  embedDim: number;
}

/** An image as it goes to the thread: a file that is read there, or bytes, which move. `name` follows `The image` in messages. */
export type ImageData = { name: string; path: string } | { name: string; bytes: Uint8Array<ArrayBuffer> };

/** What is asked of the model. Jobs of one kind are joined into batches. */
export type Job =
  | { kind: 'image'; image: ImageData }
  | { kind: 'texts'; texts: readonly string[] }
  | { kind: 'match'; image: ImageData; texts: readonly string[] };

/**
 * Numbers of a job that was done: of an image its feature (E); of n texts their features (n, E); of a match (n, 3), for each
 * text probability, similarity and score.
 */
export type Outcome = { values: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> } | { failure: Failure };

export type ToThread = { jobs: Job[] };
export type FromThread = { ready: ModelFacts } | { failed: Failure } | { outcomes: Outcome[] };

/** An error as data: structured cloning would lose its class and its code. */
export interface Failure {
  message: string;
  stack: string | undefined;
  name: string;
  code: string | undefined;
  /** Of a UserError. */
  exitCode: 1 | 2 | undefined;
  cause: Failure | undefined;
}

export function failureOf(error: unknown): Failure {
  const cause = error instanceof Error ? error.cause : undefined;
  return {
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
    name: error instanceof Error ? error.name : 'Error',
    code: codeOf(error),
    exitCode: error instanceof UserError ? error.exitCode : undefined,
    cause: cause === undefined ? undefined : failureOf(cause),
  };
}

/** The error again, of the same class where that is UserError. Below its own stack is that of `origin`, the call. */
export function errorOf(failure: Failure, origin?: { stack?: string }): Error {
  const { message, exitCode, name, code, stack } = failure;
  const cause = failure.cause === undefined ? undefined : errorOf(failure.cause);
  const error =
    exitCode === undefined
      ? Object.assign(new Error(message, { cause }), { name })
      : new UserError(message, { exitCode, cause });
  if (code !== undefined) Object.assign(error, { code });
  const [, ...call] = origin?.stack?.split('\n') ?? [];
  error.stack = [stack ?? `${name}: ${message}`, ...call].join('\n');
  return error;
}
