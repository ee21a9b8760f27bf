// An answer that is an error: its status, and the sentence that the client reads.
import { isMemoryShort, UserError } from '../errors.js';

export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** The flags that a sentence of the library names as options. */
const FLAGS: Readonly<Record<string, string>> = { '`maxPixels`': '--max_pixels', '`maxImageBytes`': '--max_body' };

/** A sentence of the library, for somebody who asks the server. */
export function forClients(message: string): string {
  return message.replace(/`\w+`/g, (name) => FLAGS[name] ?? name);
}

/**
 * What to answer after `error`. Only what the client did wrong is told in the error's own words: other sentences may name
 * files of this machine, and go to its log.
 */
export function answerTo(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (isMemoryShort(error))
    return new HttpError(503, 'The server has no memory left for this. Send less at a time, or try again.', {
      'Retry-After': '5',
    });
  if (error instanceof UserError && error.exitCode === 2) return new HttpError(400, forClients(error.message));
  return new HttpError(500, 'The server could not do this. Its log says why.');
}

/** Runs the reading of an image that the client sent: what is wrong with it is the client's. */
export async function imageOfClient<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UserError && !isMemoryShort(error)) throw new HttpError(400, forClients(error.message));
    throw error;
  }
}
