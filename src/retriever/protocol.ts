// What the retriever and the thread of its model say to each other, and errors on their way between them.
import { codeOf, messageOf, UserError } from '../errors.js';
import type { ScanJob } from '../index/exact.js';
import type { VisionName } from '../model/architecture.js';
import type { Precision } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

/** A call, for its errors' stacks. */
export interface Origin {
  stack?: string;
}

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
  /** Of the weights: see fingerprintOf. */
  fingerprint: string;
}

/** An image as it goes to the thread: a file that is read there, or bytes, which move. `name` follows `The image` in messages. */
export type ImageData = { name: string; path: string } | { name: string; bytes: Uint8Array<ArrayBuffer> };

/** An image by what an index keeps of it: tokens (L, V) bfloat16, and its unit feature (E). */
export type KeptImage = { tokens: Uint8Array; feature: Float32Array };

/** What is asked of the model. Jobs of one kind are joined into batches; a scan stays alone. */
export type Job =
  | { kind: 'image'; image: ImageData }
  /** Feature and, where wanted, tokens, with what an index says of the file. */
  | { kind: 'encode'; image: ImageData; keepTokens: boolean }
  | { kind: 'texts'; texts: readonly string[] }
  /** With `digest`, an image whose bytes have another one is refused. */
  | { kind: 'match'; image: ImageData | KeptImage; digest?: string; texts: readonly string[] }
  | { kind: 'scan'; scan: ScanJob };

/** What a job gave. */
export interface Done {
  /**
   * Of an image its feature (E); of n texts their features (n, E); of a match (n, 3), for each text probability, similarity
   * and score; of a scan (m, 3), see ExactScan.
   */
  values: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  tokens?: Uint8Array<ArrayBuffer> | undefined;
  file?: FileFacts | undefined;
}

/** What was read: of bytes only their digest. */
export interface FileFacts {
  digest: string;
  size?: number | undefined;
  modified?: number | undefined; // ms since 1970
}

export type Outcome = Done | { failure: Failure };

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
