// The thread of a retriever's model: decodes the images of a batch while the one before is computed, and answers in order.
import { parentPort, workerData } from 'node:worker_threads';
import { loadSharp } from '../data/images/load-sharp.js';
import { at } from '../errors.js';
import type { Engine } from './engine.js';
import {
  type FromThread,
  failureOf,
  type ImageData,
  type Job,
  type ModelSetup,
  type Outcome,
  type ToThread,
} from './protocol.js';

const port = parentPort;
if (port === null) throw new Error('retriever/worker.js runs in a worker thread');
const setup: ModelSetup = workerData;

function send(message: FromThread): void {
  const moved =
    'outcomes' in message
      ? message.outcomes.flatMap((outcome) => ('values' in outcome ? [outcome.values.buffer] : []))
      : [];
  port?.postMessage(message, moved);
}

/** Pixels (P, P, 3) uint8 of an image, or why there are none. */
type Decoded = { pixels: Uint8Array } | { error: unknown };
type Decode = (image: ImageData) => Promise<Decoded>;

async function decoder(size: number): Promise<Decode> {
  await loadSharp();
  const [{ decodeRgb }, { evaluationTransform }] = await Promise.all([
    import('../data/images/decode.js'),
    import('../data/images/evaluation-transform.js'),
  ]);
  const { maxPixels } = setup;
  return async (image) => {
    try {
      const source = 'path' in image ? image.path : image.bytes;
      const rgb = await decodeRgb(source, { maxPixels, name: image.name, remedy: 'Check the path.' });
      const pixels = new Uint8Array(size * size * 3);
      evaluationTransform(rgb, size, pixels);
      return { pixels };
    } catch (error) {
      return { error };
    }
  };
}

/** `compute` of the images that could be decoded, given one after the other; the others' outcome is why they could not. */
function withImages(
  decoded: readonly Decoded[],
  compute: (pixels: Uint8Array, images: readonly number[]) => Outcome[],
): Outcome[] {
  const images = decoded.flatMap((image, i) => ('pixels' in image ? [i] : []));
  const sound = decoded.flatMap((image) => ('pixels' in image ? [image.pixels] : []));
  const computed = images.length === 0 ? [] : compute(Buffer.concat(sound), images);
  let next = 0;
  return decoded.map((image) => ('error' in image ? { failure: failureOf(image.error) } : at(computed, next++)));
}

/** The numbers of jobs that are all of one kind. */
function compute(engine: Engine, jobs: readonly Job[], decoded: readonly Decoded[]): Outcome[] {
  const { embedDim } = engine.facts;
  const textsOf = jobs.map((job) => (job.kind === 'image' ? [] : job.texts));
  switch (jobs[0]?.kind) {
    case 'image':
      return withImages(decoded, (pixels, images) => {
        const features = engine.embedImages(pixels, images.length);
        return images.map((_, i) => ({ values: features.slice(i * embedDim, (i + 1) * embedDim) }));
      });
    case 'match':
      return withImages(decoded, (pixels, images) =>
        engine
          .match(
            pixels,
            images.map((image) => at(textsOf, image)),
          )
          .map((values) => ({ values })),
      );
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
  const { Engine } = await import('./engine.js');
  const engine = await Engine.open(setup);
  const decode = await decoder(engine.facts.imageSize);
  let last: Promise<void> = Promise.resolve();
  port.on('message', ({ jobs }: ToThread) => {
    const decoding = Promise.all(jobs.flatMap((job) => (job.kind === 'texts' ? [] : [decode(job.image)])));
    last = last.then(async () => {
      const decoded = await decoding;
      try {
        send({ outcomes: compute(engine, jobs, decoded) });
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
