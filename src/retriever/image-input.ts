// The images that a retriever takes: paths, bytes, URLs and Blobs, made ready for the thread of the model.
import { fileURLToPath } from 'node:url';
import { isUint8Array } from 'node:util/types';
import { formatBytes } from '../disk/space.js';
import { get, makeDispatcher } from '../download/http.js';
import { parseUrl, shownUrl } from '../download/url.js';
import { kindOf, messageOf, UserError } from '../errors.js';
import type { ImageInput } from '../index/encoder.js';
import { counted } from '../logging/text.js';
import type { ImageData } from './protocol.js';

export type { ImageInput };

export interface InputLimits {
  maxImageBytes: number;
  fetchTimeout: number; // ms
}

/** Copies of bytes are made in parts, between which the event loop turns. */
const COPY_BYTES = 4 * 2 ** 20;

/** Checks what can be seen at once. @throws UserError; `what` names the argument in the sentence */
export function checkImage(what: string, image: unknown): asserts image is ImageInput {
  const wrong = (sentence: string) => new UserError(sentence, { exitCode: 2 });
  if (typeof image === 'string') {
    if (image === '') throw wrong(`${what} is an empty text. Give the path of a file.`);
    if (/^(?:https?|file):\/\//i.test(image))
      throw wrong(`${what} is ${kindOf(image)}, and a text is taken for a path. Give new URL(…) for an address.`);
    return;
  }
  if (image instanceof URL) {
    if (!['file:', 'http:', 'https:'].includes(image.protocol))
      throw wrong(
        `${what} is a URL that begins with ${image.protocol} and cannot be read. Give one of file:, http: or https:.`,
      );
    return;
  }
  if (isUint8Array(image) || image instanceof Blob) return;
  throw wrong(`${what} is ${kindOf(image)}. Give a path, a Buffer or Uint8Array, a URL or a Blob.`);
}

/**
 * What the thread takes for `image`: bytes are copied or fetched. `name` follows `The image` in messages where there is
 * neither path nor address. @throws UserError for one that is too large or cannot be fetched; the reason of `signal`
 */
export async function readImage(
  image: ImageInput,
  name: string,
  limits: InputLimits,
  signal?: AbortSignal,
): Promise<ImageData> {
  if (typeof image === 'string') return { name: image, path: image };
  if (image instanceof URL) {
    if (image.protocol !== 'file:') return { name: shownUrl(image), bytes: await fetchImage(image, limits, signal) };
    const path = pathOf(image);
    return { name: path, path };
  }
  const size = image instanceof Blob ? image.size : image.length;
  if (size > limits.maxImageBytes) throw tooLarge(name, `${formatBytes(size)} are`, limits);
  if (image instanceof Blob) return { name, bytes: new Uint8Array(await image.arrayBuffer()) };
  return { name, bytes: await copyOf(image) };
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw new UserError(`${url.href} is no path of this machine (${messageOf(error)}). Give a path.`, { cause: error });
  }
}

async function copyOf(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const copy = new Uint8Array(bytes.length);
  for (let start = 0; start < bytes.length; start += COPY_BYTES) {
    if (start > 0) await new Promise(setImmediate);
    copy.set(bytes.subarray(start, start + COPY_BYTES), start);
  }
  return copy;
}

function tooLarge(name: string, size: string, { maxImageBytes }: InputLimits): UserError {
  return new UserError(
    `The image ${name} is too large: ${size} more than the limit of ${formatBytes(maxImageBytes)}. Make it smaller, or raise \`maxImageBytes\`.`,
  );
}

/** One attempt: the caller knows whether another is worth it. */
async function fetchImage(url: URL, limits: InputLimits, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const { maxImageBytes, fetchTimeout } = limits;
  const timeout = AbortSignal.timeout(fetchTimeout);
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const shown = shownUrl(url);
  const dispatcher = makeDispatcher(fetchTimeout);
  try {
    const answer = await get(parseUrl(url.href), { dispatcher, signal: either });
    const announced = Number(answer.header('content-length') ?? Number.NaN);
    if (announced > maxImageBytes) throw tooLarge(shown, `${formatBytes(announced)} are`, limits);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxImageBytes) throw tooLarge(shown, 'its bytes are', limits);
    }
    if (size < announced) throw new Error(`the connection ended after ${size} of ${counted(announced, 'byte')}`);
    const bytes = new Uint8Array(size);
    let end = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, end);
      end += chunk.length;
    }
    return bytes;
  } catch (error) {
    signal?.throwIfAborted();
    if (timeout.aborted)
      throw new UserError(
        `The image ${shown} did not come within ${fetchTimeout / 1000} s. Try again, or raise \`fetchTimeout\`.`,
        { cause: error },
      );
    if (error instanceof UserError) throw error;
    throw new UserError(`The image ${shown} could not be fetched (${messageOf(error)}). Try again.`, { cause: error });
  } finally {
    await dispatcher.destroy();
  }
}
