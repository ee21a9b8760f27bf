// What a retriever can be asked for, checked once at the door. Mistakes are UserErrors that name the option.
import { booleanRule, checkOptions, functionRule, type Rule, signalRule, whole } from '../config/check-options.js';
import { type Precision, precisions } from '../torch/precision.js';
import type { Device } from '../torch/tensor.js';

export interface RetrieverOptions {
  /** By default `cuda` where there is a GPU that LibTorch can use, else `cpu`. */
  device?: Device | undefined;
  /** `fp32` (default), `tf32` or `bf16`. */
  precision?: Precision | undefined;
  /** Threads that LibTorch computes with on a CPU; by default as many as there are cores, or OMP_NUM_THREADS. */
  threads?: number | undefined;
  /** Images encoded together: 8 by default on a CPU, 32 on a GPU. */
  batchSize?: number | undefined;
  /** Calls that may be unfinished at a time, 1,000 by default. One more is refused. */
  maxPending?: number | undefined;
  /** Largest width times height of an image; Pillow's limit by default. */
  maxPixels?: number | undefined;
  /** Largest image in bytes that is taken from memory or from an address; 64 MiB by default. */
  maxImageBytes?: number | undefined;
  /** How long an image may take to come from an address, in milliseconds; 30,000 by default. */
  fetchTimeout?: number | undefined;
  /** Hexadecimal SHA-256 that the checkpoint must have, or its first digits, 8 at least. */
  sha256?: string | undefined;
  /** Fail with a sentence instead of downloading the checkpoint. */
  offline?: boolean | undefined;
  /** Takes the lines that say what is downloaded; by default they go to stderr. */
  print?: ((line: string) => void) | undefined;
  /** Stops the opening. */
  signal?: AbortSignal | undefined;
}

export interface CallOptions {
  /** Rejects the call with its reason; what has not begun is not begun. */
  signal?: AbortSignal | undefined;
}

export type Checked = RetrieverOptions & {
  precision: Precision;
  maxPending: number;
  maxImageBytes: number;
  fetchTimeout: number;
};

const openRules: Record<keyof RetrieverOptions, Rule> = {
  device: [
    (value) => typeof value === 'string' && /^(?:cpu|cuda(?::\d{1,3})?)$/.test(value),
    "'cpu', 'cuda' or 'cuda:N'",
  ],
  precision: [
    (value) => precisions.some((name) => name === value),
    precisions
      .map((name) => `'${name}'`)
      .join(', ')
      .replace(/, ([^,]*)$/, ' or $1'),
  ],
  threads: whole(4096),
  batchSize: whole(4096),
  maxPending: whole(1_000_000),
  maxPixels: whole(Number.MAX_SAFE_INTEGER),
  maxImageBytes: whole(2 ** 31 - 1),
  fetchTimeout: whole(86_400_000),
  sha256: [(value) => typeof value === 'string' && /^[0-9a-f]{8,64}$/i.test(value), '8 to 64 hexadecimal digits'],
  offline: booleanRule,
  print: functionRule,
  signal: signalRule,
};
const callRules: Record<keyof CallOptions, Rule> = { signal: signalRule };
const progressRules: Record<'signal' | 'onProgress', Rule> = {
  signal: signalRule,
  onProgress: functionRule,
};

/** @throws UserError that names the option */
export function checkOpenOptions(options: unknown): Checked {
  const checked = checkOptions<RetrieverOptions>('Retriever.open', openRules, options);
  return {
    ...checked,
    precision: checked.precision ?? 'fp32',
    maxPending: checked.maxPending ?? 1000,
    maxImageBytes: checked.maxImageBytes ?? 64 * 2 ** 20,
    fetchTimeout: checked.fetchTimeout ?? 30_000,
  };
}

/** @throws UserError that names the option */
export function checkCallOptions(call: string, options: unknown): CallOptions {
  return checkOptions<CallOptions>(call, callRules, options);
}

export interface ListOptions extends CallOptions {
  /** Called as images are done, in no fixed order: how many are, and of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** @throws UserError that names the option */
export function checkListOptions(call: string, options: unknown): ListOptions {
  return checkOptions<ListOptions>(call, progressRules, options);
}
