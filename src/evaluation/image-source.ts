// The images of a split for an evaluation: decoded and resized by the loader's workers.
import type { RetrievalSplit } from '../data/annotations.js';
import { ImageLoader } from '../data/loader/loader.js';
import { at } from '../errors.js';
import type { ImageSource } from './image-store.js';

export interface ImageSourceOptions {
  /** Pixels a side, the model's `architecture.vision.imageSize`. */
  size: number;
  /** Images decoded and encoded together. */
  batchSize: number;
  /** Images that cannot be read count as grey instead of ending the evaluation. */
  skipBadImages?: boolean;
  /** Called with the number in the split and the sentence of each image that was skipped, as often as it is read. */
  onBadImage?(image: number, message: string): void;
}

/** The images of `split`. A pass over them throws a UserError for one that cannot be read, unless they are skipped. */
export function imageSource(
  { images }: Pick<RetrievalSplit, 'images'>,
  { size, batchSize, skipBadImages = false, onBadImage = () => {} }: ImageSourceOptions,
): ImageSource {
  return {
    count: images.length,
    open(numbers) {
      const paths = Array.from(numbers, (image) => at(images, image));
      const loader = new ImageLoader({ paths, size, batchSize, skipBadImages });
      return {
        next() {
          const batch = loader.next();
          for (const { index, message } of batch?.bad ?? []) onBadImage(at(numbers, index), message);
          return batch;
        },
        close: () => loader.close(),
      };
    },
  };
}
