// The gallery for TensorBoard: for each caption the five images found, side by side in one picture, the right one framed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeRgb } from '../data/images/decode.js';
import { loadSharp } from '../data/images/load-sharp.js';
import type { Example } from '../evaluation/examples.js';
import { insightFile, parseInsight } from '../evaluation/insight.js';
import type { EventLog } from '../logging/tensorboard.js';

/** Pixels of an image's square, and of the frame around it. */
const SIDE = 128;
const FRAME = 4;
const RIGHT = '#1c7449';
const WRONG = '#ffffff';
const GREY = { r: 128, g: 128, b: 128 };

/** Adds the captions of the gallery of `outputDir`'s last evaluation on test. @throws UserError where there is none */
export async function addGallery(events: EventLog, step: number, outputDir: string): Promise<void> {
  const path = join(outputDir, insightFile('test'));
  const { examples, imageRoot } = parseInsight(path, readFileSync(path, 'utf8'));
  const counts = { worst: 0, random: 0 };
  for (const example of examples.captions) {
    const name = `gallery/${example.kind} ${++counts[example.kind]}`;
    events.text(step, `${name} caption`, `${example.query} (right image at rank ${example.rank})`);
    events.image(step, name, await strip(example, imageRoot));
  }
}

async function strip({ found }: Example, imageRoot: string) {
  const sharp = await loadSharp();
  const cell = SIDE + 2 * FRAME;
  const [width, height] = [cell * Math.max(1, found.length), cell];
  const tiles = await Promise.all(
    found.map(async ({ name, isRight }, i) => {
      const square = await squareOf(join(imageRoot, name));
      const framed = sharp(square, { raw: { width: SIDE, height: SIDE, channels: 3 } }).extend({
        ...{ top: FRAME, bottom: FRAME, left: FRAME, right: FRAME },
        background: isRight ? RIGHT : WRONG,
      });
      return { input: await framed.png().toBuffer(), left: i * cell, top: 0 };
    }),
  );
  const canvas = sharp({ create: { width, height, channels: 3, background: WRONG } });
  return { bytes: await canvas.composite(tiles).jpeg({ quality: 80 }).toBuffer(), width, height };
}

/** (SIDE, SIDE, 3); grey where the image cannot be read. */
async function squareOf(path: string): Promise<Buffer> {
  const sharp = await loadSharp();
  try {
    const { data, width, height } = await decodeRgb(path);
    const image = sharp(data, { raw: { width, height, channels: 3 } });
    return await image.resize(SIDE, SIDE, { fit: 'contain', background: WRONG }).raw().toBuffer();
  } catch {
    return sharp({ create: { width: SIDE, height: SIDE, channels: 3, background: GREY } })
      .raw()
      .toBuffer();
  }
}
