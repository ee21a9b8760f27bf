// What a server is started with.

export interface ServeLimits {
  /** Bytes of a request's body. */
  maxBody: number;
  /** Texts or images of one request. */
  maxBatch: number;
  /** Width times height of an image. */
  maxPixels: number;
  /** Requests that may compute or wait to compute; one more is answered by 429. */
  queue: number;
  /** Seconds that a request may take; its body may take half of them to come. */
  timeout: number;
}

export interface ServeOptions extends ServeLimits {
  host: string;
  /** 0 is a free one. */
  port: number;
  /** What clients must send as `Authorization: Bearer …`. */
  token?: string | undefined;
  /** Names under which the server may be asked for, besides loopback's. */
  allowedHosts: readonly string[];
  /** One line a request on stderr. */
  verbose: boolean;
  /** Takes lines for stderr. */
  print: (line: string) => void;
}

/** Characters of a text. A query is cut at 35 tokens. */
export const MAX_TEXT = 2000;
/** Images of an answer. */
export const MAX_HITS = 1000;
/** Images that one search may re-rank. */
export const MAX_RERANK = 256;
/** Connections at a time. */
export const MAX_CONNECTIONS = 512;
/** Bytes of bodies in memory at a time, of all requests together. */
export const BODIES_IN_MEMORY = 256 * 2 ** 20;
/** How long what is under way may take after a signal to stop, in milliseconds. */
export const GRACE = 10_000;
