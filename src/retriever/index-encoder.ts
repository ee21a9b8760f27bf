// What an index asks of a model, answered by a retriever: its jobs wait in the same line as those of other calls.
import { at, isMemoryShort, UserError } from '../errors.js';
import type { Candidate, Encoded, Encoder, ImageInput, ItmScore, Model } from '../index/encoder.js';
import { checkImage } from './image-input.js';
import type { RunOptions } from './model-thread.js';
import type { Done, ImageData, Job, Origin } from './protocol.js';
import { mapWindow } from './windowed.js';

/** How a retriever does its calls. */
export interface Calls {
  call<T>(
    method: (...args: never[]) => unknown,
    signal: AbortSignal | undefined,
    work: (origin: Origin, signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  run(job: Job, options: RunOptions): Promise<Done>;
  withImage<T>(
    image: ImageInput,
    name: string,
    signal: AbortSignal,
    use: (data: ImageData, left: () => void) => Promise<T>,
  ): Promise<T>;
}

type Facts = Pick<Encoder, 'fingerprint' | 'source' | 'imageSize' | 'embedDim'>;

/** Images that the thread takes at once, for an index and for matches. */
interface Batches {
  indexed: number;
  matched: number;
}

export function indexEncoder(facts: Facts, { indexed, matched }: Batches, calls: Calls): Encoder {
  const { fingerprint, source, imageSize, embedDim } = facts;
  // Two batches, which is what the thread has at a time: a job that comes in between waits for no third.
  const window = 2 * indexed;
  return {
    ...{ fingerprint, source, imageSize, embedDim, window, checkImage },
    call: (method, signal, work) =>
      calls.call(method, signal, (origin, either) => work(modelOf(calls, origin, either, 2 * matched), either)),
    scan: async (scan, signal) => doubles(await calls.run({ kind: 'scan', scan }, { origin: {}, signal })),
  };
}

function modelOf(calls: Calls, origin: Origin, signal: AbortSignal, matches: number): Model {
  const embed = async (job: Job, left?: () => void) => floats(await calls.run(job, { origin, signal, left }));
  const match = async (text: string, candidate: Candidate): Promise<ItmScore | Error> => {
    const { digest, image } =
      'tokens' in candidate
        ? { digest: undefined, image: candidate }
        : { digest: candidate.digest, image: { name: candidate.path, path: candidate.path } };
    const job: Job = { kind: 'match', image, texts: [text], ...(digest !== undefined && { digest }) };
    try {
      const { values } = await calls.run(job, { origin, signal });
      return { probability: at(values, 0), score: at(values, 2) };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof UserError && !isMemoryShort(error)) return error;
      throw error;
    }
  };
  return {
    embedText: (text) => embed({ kind: 'texts', texts: [text] }),
    embedImage: (image) =>
      calls.withImage(image, 'given as bytes', signal, (data, left) => embed({ kind: 'image', image: data }, left)),
    encode: (image, name, keepTokens) =>
      calls.withImage(image, name, signal, async (data, left): Promise<Encoded> => {
        const done = await calls.run({ kind: 'encode', image: data, keepTokens }, { origin, signal, left });
        if (done.file === undefined) throw new TypeError('Expected facts of the file but received none.');
        const { digest, size, modified } = done.file;
        const isFile = 'path' in data && size !== undefined && modified !== undefined;
        const file = isFile ? { path: data.path, size, modified } : undefined;
        return { feature: floats(done), tokens: done.tokens, digest, file };
      }),
    match: (text, candidates) => mapWindow(candidates, matches, (candidate) => match(text, candidate), signal),
  };
}

function floats({ values }: Done): Float32Array {
  if (values instanceof Float32Array) return values;
  throw new TypeError('Expected features but received other numbers.');
}

function doubles({ values }: Done): Float64Array {
  if (values instanceof Float64Array) return values;
  throw new TypeError('Expected neighbours but received features.');
}
