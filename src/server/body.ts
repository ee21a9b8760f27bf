// The body of a request: within its limits, as bytes or as JSON. The event loop turns between parts of the work.
import type { IncomingMessage } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import type { z } from 'zod';
import { formatBytes } from '../disk/space.js';
import { HttpError } from './http-error.js';
import { BODIES_IN_MEMORY } from './options.js';

/** Bytes that are looked through between turns of the event loop. */
const SLICE = 2 ** 20;
/** Values of a JSON text: a few hundred thousand in a body take long to parse, and no request needs them. */
const MAX_VALUES = 100_000;
const [COMMA, BRACKET, BRACE] = [0x2c, 0x5b, 0x7b];

/** Bodies in memory, of all requests. */
export class Bodies {
  #bytes = 0;
  readonly #maxBody: number;

  constructor(maxBody: number) {
    this.#maxBody = maxBody;
  }

  /**
   * Reads the body and gives it to `use`, for whose time it counts as in memory.
   * @throws HttpError 413 beyond the limit, 429 where others' bodies fill the memory
   */
  async with<T>(request: IncomingMessage, use: (body: Buffer) => Promise<T>): Promise<T> {
    const tooLarge = () =>
      new HttpError(413, `The body is larger than ${formatBytes(this.#maxBody)}. Send less, or raise --max_body.`);
    if (Number(request.headers['content-length'] ?? 0) > this.#maxBody) throw tooLarge();
    if (request.headers['content-encoding'] !== undefined)
      throw new HttpError(415, 'The body is compressed. Send it as it is, without Content-Encoding.');
    let size = 0;
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        if (!Buffer.isBuffer(chunk)) throw new TypeError('Expected the bytes of a body.');
        size += chunk.length;
        this.#bytes += chunk.length;
        if (size > this.#maxBody) throw tooLarge();
        if (this.#bytes > BODIES_IN_MEMORY)
          throw new HttpError(429, 'The server is busy. Try again in a moment.', { 'Retry-After': '1' });
        chunks.push(chunk);
      }
      return await use(Buffer.concat(chunks, size));
    } finally {
      this.#bytes -= size;
    }
  }
}

/** The JSON of a body, as `schema` has it. @throws HttpError 400 with what is wrong, and where */
export async function parseJson<S extends z.ZodType>(body: Buffer, schema: S): Promise<z.output<S>> {
  await demandFewValues(body);
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new HttpError(400, 'The body is not JSON. Send an object such as {"text": "a dog in snow"}.');
  }
  return checked(schema, value);
}

/** @throws HttpError 400 with what is wrong, and where */
export function checked<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.map(String).join('.') ?? '';
  const what = (issue?.message ?? 'It is not as expected').replace(/\.$/, '');
  const sentence =
    where === '' ? `The request will not do: ${what}.` : `\`${where.slice(0, 60)}\` will not do: ${what}.`;
  throw new HttpError(400, `${sentence.slice(0, 400)} /openapi.json has the form.`);
}

async function demandFewValues(body: Buffer): Promise<void> {
  let values = 0;
  for (let start = 0; start < body.length; start += SLICE) {
    if (start > 0) await setImmediate();
    const slice = body.subarray(start, start + SLICE);
    for (const byte of slice) if (byte === COMMA || byte === BRACKET || byte === BRACE) values += 1;
    if (values > MAX_VALUES)
      throw new HttpError(413, `The body has more than ${MAX_VALUES} values. Send fewer at a time.`);
  }
}

/**
 * The bytes of an image in a JSON text: base64, or a data: URI of it.
 * @throws HttpError 400 for what is neither. An address is never fetched: a request could make the server ask others.
 */
export async function imageBytes(text: string, name: string): Promise<Uint8Array> {
  if (/^[a-z][a-z0-9+.-]{1,20}:\/\//i.test(text.slice(0, 40)))
    throw new HttpError(
      400,
      `\`${name}\` is an address, and this server fetches none. Send the image itself in base64.`,
    );
  const comma = text.startsWith('data:') ? text.slice(0, 200).indexOf(',') : -1;
  if (text.startsWith('data:') && !(comma > 0 && text.slice(0, comma).endsWith(';base64')))
    throw new HttpError(400, `\`${name}\` is a data: URI without base64. Send data:image/jpeg;base64,…`);
  const wrong = () => new HttpError(400, `\`${name}\` is not base64. Send data:image/jpeg;base64,… or base64 alone.`);
  const start = comma + 1;
  let length = text.length - start;
  while (length > 0 && text[start + length - 1] === '=') length -= 1;
  if (length === 0 || length % 4 === 1) throw wrong();
  const bytes = new Uint8Array(Math.floor((length * 3) / 4));
  let end = 0;
  for (let at = 0; at < length; at += SLICE) {
    if (at > 0) await setImmediate();
    const part = Buffer.from(text.slice(start + at, start + Math.min(at + SLICE, length)), 'base64');
    // Buffer passes over what is no base64: then there are fewer bytes than there should be.
    if (part.length !== Math.floor((Math.min(SLICE, length - at) * 3) / 4)) throw wrong();
    bytes.set(part, end);
    end += part.length;
  }
  return bytes;
}
