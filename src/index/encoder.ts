// What an index asks of an open model. The Retriever answers it, from the thread that its model runs in.
import type { ScanJob } from './exact.js';

/**
 * A path, the bytes of an image file, a `file:`, `http:` or `https:` URL, or a Blob. Bytes must stay as they are until the
 * call has ended. A text is always a path, never an address.
 */
export type ImageInput = string | Uint8Array | URL | Blob;

/** An image that was read and encoded. What is said of the file is of the same bytes as the feature. */
export interface Encoded {
  readonly feature: Float32Array; // (E), of unit length
  /** (L, V) bfloat16, row-major, where they were wanted. */
  readonly tokens?: Uint8Array | undefined;
  /** SHA-256 of the bytes, hexadecimal. */
  readonly digest: string;
  /** Of an image that was given as a path or `file:` URL. */
  readonly file?: { readonly path: string; readonly size: number; readonly modified: number } | undefined;
}

/** An image whose match with a text is wanted: by its kept tokens, or by its file as long as that is still the same. */
export type Candidate =
  | { readonly tokens: Uint8Array; readonly feature: Float32Array }
  | { readonly path: string; readonly digest: string };

/** Of the ITM head: softmax over its two logits; and the logit of a match plus the similarity. */
export interface ItmScore {
  readonly probability: number;
  readonly score: number;
}

/** The model, within one call. Each of these waits its turn among the jobs of other calls. */
export interface Model {
  /** @returns the unit feature (E) of a text */
  embedText(text: string): Promise<Float32Array>;
  /** @throws UserError for an image that cannot be read */
  embedImage(image: ImageInput): Promise<Float32Array>;
  /** @param name follows `The image` in messages where there is neither path nor address. @throws as embedImage */
  encode(image: ImageInput, name: string, keepTokens: boolean): Promise<Encoded>;
  /** Of each candidate how well it fits the text; why not, where its image is gone, has changed or cannot be read. */
  match(text: string, candidates: readonly Candidate[]): Promise<(ItmScore | Error)[]>;
}

export interface Encoder {
  readonly fingerprint: string;
  readonly source: string;
  readonly imageSize: number;
  readonly embedDim: number;
  /** Images that are worth having under way at a time: more would hold up other calls. */
  readonly window: number;
  /**
   * Runs a call of an index as one of the retriever's own: it is counted, refused where it is one too many, and ended by
   * `signal` or when the retriever is closed. `method` is left out of the stacks of its errors.
   */
  call<T>(
    method: (...args: never[]) => unknown,
    signal: AbortSignal | undefined,
    work: (model: Model, signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  /** @throws UserError for an image that is none, by what can be seen at once; `what` names it */
  checkImage(what: string, image: unknown): asserts image is ImageInput;
  /** See ExactScan. */
  scan: Scan;
}

/** Runs a scan where LibTorch is. @returns (n, 3): of each neighbour its segment, its row there, its similarity */
export type Scan = (job: ScanJob, signal?: AbortSignal) => Promise<Float64Array>;
