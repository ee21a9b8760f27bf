// Many images into an index: encoded a window at a time, added to the store in parts, so that a kill loses little.
import { type BadImage, type OnBadImage, reasonOf, tellBad } from './bad-image.js';
import type { Encoded, ImageInput, Model } from './encoder.js';
import type { EmbeddedImage, IndexStore } from './store.js';
import { inWindow } from './turns.js';

/** Images that are added at once, at most; fewer where their tokens take much memory, or encoding takes long. */
const MOST_IMAGES = 1000;
const MOST_MS = 30_000;
const MOST_BYTES = 256 * 2 ** 20;

/** An image that is to be added: to be encoded, or with what is known of it already. */
export interface Wanted {
  readonly id: string;
  readonly image: ImageInput;
  /** What messages call it. */
  readonly path: string;
  /** Tells that the image need not be encoded after all. Undefined where it must be. */
  known?(): Promise<EmbeddedImage | undefined>;
  /** What is counted once the image is in the index. */
  done?(isKnown: boolean): void;
}

export interface EmbedOptions {
  store: IndexStore;
  model: Model;
  window: number;
  onBadImage: OnBadImage;
  signal: AbortSignal;
  /** Told after each image, good or bad. */
  onDone?(): void;
}

type Sound = { wanted: Wanted; embedded: EmbeddedImage; isKnown: boolean };
type Result = Sound | { wanted: Wanted; reason: string };

/** Adds images. @returns those that could not be read. @throws where `onBadImage` does; what was encoded is added before */
export async function addImages(
  images: AsyncIterable<Wanted> | Iterable<Wanted>,
  { store, model, window, onBadImage, signal, onDone }: EmbedOptions,
): Promise<BadImage[]> {
  const { keepsTokens } = store.facts;
  const bad: BadImage[] = [];
  let pending: Sound[] = [];
  let bytes = 0;
  let since = performance.now();
  const commit = async () => {
    const images = pending.map(({ embedded }) => embedded);
    const added = pending;
    [pending, bytes] = [[], 0];
    if (images.length > 0) await store.append(images);
    for (const { wanted, isKnown } of added) wanted.done?.(isKnown);
    since = performance.now();
  };
  const embed = async (wanted: Wanted): Promise<Result> => {
    try {
      signal.throwIfAborted();
      const known = await wanted.known?.();
      if (known !== undefined) return { wanted, embedded: known, isKnown: true };
      const encoded = await model.encode(wanted.image, wanted.path, keepsTokens);
      return { wanted, embedded: embeddedImage(wanted.id, encoded), isKnown: false };
    } catch (error) {
      signal.throwIfAborted();
      return { wanted, reason: reasonOf(error) };
    }
  };
  try {
    for await (const result of inWindow(images, window, embed)) {
      if ('reason' in result) {
        const { id, path } = result.wanted;
        bad.push({ id, path, reason: result.reason });
        tellBad({ id, path, reason: result.reason }, onBadImage);
      } else {
        pending.push(result);
        const { feature, tokens } = result.embedded;
        bytes += feature.byteLength + (tokens?.byteLength ?? 0);
        if (pending.length >= MOST_IMAGES || bytes >= MOST_BYTES || performance.now() - since >= MOST_MS)
          await commit();
      }
      onDone?.();
    }
  } finally {
    // Whatever ended the loop, what was encoded is not lost; a failure of this commit is the lesser one only there.
    await commit();
  }
  return bad;
}

function embeddedImage(id: string, { feature, tokens, digest, file }: Encoded): EmbeddedImage {
  return { id, digest, feature, tokens, path: file?.path, size: file?.size, modified: file?.modified };
}
