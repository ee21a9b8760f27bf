// The thread of a retriever's model: decodes the images of a batch while the one before is computed, and answers in order.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { loadSharp } from '../data/images/load-sharp.js';
import { readImageFile } from '../data/images/read-file.js';
import { at, UserError } from '../errors.js';
import type { ExactScan } from '../index/exact.js';
import type { Engine } from './engine.js';
import {
  type FileFacts,
  type FromThread,
  failureOf,
  type ImageData,
  type Job,
  type KeptImage,
  type ModelSetup,
  type Outcome,
  type ToThread,
} from './protocol.js';

const port = parentPort;
if (port === null) throw new Error('retriever/worker.js runs in a worker thread');
const setup: ModelSetup = workerData;

function send(message: FromThread): void {
  const outcomes = 'outcomes' in message ? message.outcomes : [];
  const moved = outcomes.flatMap((outcome) =>
    'values' in outcome
      ? [outcome.values.buffer, ...(outcome.tokens === undefined ? [] : [outcome.tokens.buffer])]
      : [],
  );
  port?.postMessage(message, moved);
}

/** An image made ready for the model: decoded, with what was read, or kept; or why there is none. */
type Ready = { pixels: Uint8Array; file: FileFacts | undefined } | KeptImage | { error: unknown };
type Prepare = (job: Job) => Promise<Ready> | undefined;

/** Reads a file for an index. What is said of it is of no later state than its bytes are. */
function readForIndex(path: string): { bytes: Uint8Array; file: FileFacts } {
  const stats = statSync(path, { throwIfNoEntry: false });
  const bytes = readImageFile(path, CHECK);
  return { bytes, file: { digest: sha256Of(bytes), size: stats?.size, modified: stats?.mtimeMs } };
}

async function preparer(size: number): Promise<Prepare> {
  await loadSharp();
  const [{ decodeRgb }, { evaluationTransform }] = await Promise.all([
    import('../data/images/decode.js'),
    import('../data/images/evaluation-transform.js'),
  ]);
  const { maxPixels } = setup;
  const decode = async (source: string | Uint8Array, name: string) => {
    const rgb = await decodeRgb(source, { maxPixels, name, remedy: CHECK });
    const pixels = new Uint8Array(size * size * 3);
    evaluationTransform(rgb, size, pixels);
    return pixels;
  };
  const ready = async (image: ImageData, digest: string | undefined, isForIndex: boolean): Promise<Ready> => {
    const { name } = image;
    if (!isForIndex) return { pixels: await decode('path' in image ? image.path : image.bytes, name), file: undefined };
    const { bytes, file } =
      'path' in image ? readForIndex(image.path) : { bytes: image.bytes, file: { digest: sha256Of(image.bytes) } };
    if (digest !== undefined && digest !== file.digest)
      throw new UserError(`The image ${name} has changed since it was indexed. Call sync().`);
    return { pixels: await decode(bytes, name), file };
  };
  return (job) => {
    if (!('image' in job)) return undefined;
    if ('tokens' in job.image) return Promise.resolve(job.image);
    const digest = job.kind === 'match' ? job.digest : undefined;
    const isForIndex = job.kind === 'encode' || digest !== undefined;
    return ready(job.image, digest, isForIndex).catch((error: unknown) => ({ error }));
  };
}

const CHECK = 'Check the path.';
const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

type Sound = Exclude<Ready, { error: unknown }>;

/** `compute` of the images that are ready, given together; the others' outcome is why they are not. */
function withImages(
  ready: readonly Ready[],
  compute: (images: readonly Sound[], jobs: readonly number[]) => Outcome[],
): Outcome[] {
  const jobs = ready.flatMap((image, i) => ('error' in image ? [] : [i]));
  const sound = ready.flatMap((image) => ('error' in image ? [] : [image]));
  const computed = jobs.length === 0 ? [] : compute(sound, jobs);
  let next = 0;
  return ready.map((image) => ('error' in image ? { failure: failureOf(image.error) } : at(computed, next++)));
}

/** The features of images, with the tokens of those whose jobs want them. */
function encoded(engine: Engine, images: readonly Sound[], jobs: readonly Job[]): Outcome[] {
  const { embedDim } = engine.facts;
  const pixels = Buffer.concat(images.flatMap((image) => ('pixels' in image ? [image.pixels] : [])));
  const isWanted = jobs.map((job) => job.kind === 'encode' && job.keepTokens);
  const { features, tokens } = engine.encodeImages(pixels, images.length, isWanted.includes(true));
  return images.map((image, i) => ({
    values: features.slice(i * embedDim, (i + 1) * embedDim),
    tokens: isWanted[i] ? tokens?.[i] : undefined,
    file: 'file' in image ? image.file : undefined,
  }));
}

/** The outcomes of jobs that are all of one kind. */
function compute(engine: Engine, scan: ExactScan, jobs: readonly Job[], ready: readonly Ready[]): Outcome[] {
  const { embedDim } = engine.facts;
  const textsOf = jobs.map((job) => ('texts' in job ? job.texts : []));
  const [first] = jobs;
  switch (first?.kind) {
    case 'image':
    case 'encode':
      return withImages(ready, (images, numbers) =>
        encoded(
          engine,
          images,
          numbers.map((number) => at(jobs, number)),
        ),
      );
    case 'match':
      return withImages(ready, (images, numbers) =>
        engine
          .match(
            images,
            numbers.map((number) => at(textsOf, number)),
          )
          .map((values) => ({ values })),
      );
    case 'scan':
      return [{ values: scan.nearest(first.scan) }];
    default: {
      const features = engine.embedTexts(textsOf.flat());
      let start = 0;
      return textsOf.map(({ length }) => {
        const values = features.slice(start * embedDim, (start + length) * embedDim);
        start += length;
        return { values };
      });
    }
  }
}

try {
  // Loaded here and not above, so that a failure to load a library is told like any other.
  const [{ Engine }, { ExactScan }] = await Promise.all([import('./engine.js'), import('../index/exact.js')]);
  const engine = await Engine.open(setup);
  const prepare = await preparer(engine.facts.imageSize);
  const scan = new ExactScan();
  let last: Promise<void> = Promise.resolve();
  port.on('message', ({ jobs }: ToThread) => {
    const preparing = Promise.all(jobs.flatMap((job) => prepare(job) ?? []));
    last = last.then(async () => {
      const ready = await preparing;
      try {
        send({ outcomes: compute(engine, scan, jobs, ready) });
      } catch (error) {
        const failure = failureOf(error);
        send({ outcomes: jobs.map(() => ({ failure })) });
      }
    });
  });
  send({ ready: engine.facts });
} catch (error) {
  send({ failed: failureOf(error) });
}
