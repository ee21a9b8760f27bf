// Boxes of torchvision's RandomResizedCrop with the retrieval training's scale and ratio.
import type { SampleRandom } from './philox.js';

/** Share of the image's area. */
const SCALE = [0.5, 1] as const;
/** Width to height. */
const RATIO = [3 / 4, 4 / 3] as const;
const TRIES = 10;

/** Pixels: left, top, width, height. */
export type Box = [left: number, top: number, width: number, height: number];

/**
 * A box of random area and (log-uniform) proportions at a random place in the image; after ten boxes that do not fit,
 * the largest central one with proportions within the limits.
 */
export function randomResizedCrop(random: SampleRandom, width: number, height: number): Box {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const area = width * height * random.between(...SCALE);
    const ratio = Math.exp(random.between(Math.log(RATIO[0]), Math.log(RATIO[1])));
    const [w, h] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const top = random.below(height - h + 1);
    return [random.below(width - w + 1), top, w, h];
  }
  return centralCrop(width, height);
}

function centralCrop(width: number, height: number): Box {
  const [narrowest, widest] = RATIO;
  const w = Math.min(width, Math.max(1, Math.round(height * widest)));
  const h = Math.min(height, Math.max(1, Math.round(width / narrowest)));
  return [Math.floor((width - w) / 2), Math.floor((height - h) / 2), w, h];
}
