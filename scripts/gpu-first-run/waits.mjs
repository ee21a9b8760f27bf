// Counts the host's waits for the GPU: in the re-ranking of an image, and in a training step. LibTorch names each on
// standard error once sync_debug.node has asked it to; the caller of this program counts the lines between its marks.
// Usage: node waits.mjs FOLDER     (where the weights and images are drawn to)
import { mkdirSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { writeDrawnCheckpoint } from '../../dist/bench/drawn-weights.js';
import { loadTraining, trainSteps } from '../../dist/bench/own/train.js';
import { load, rerank } from '../../dist/bench/own/work.js';
import { drawInputs } from '../../dist/bench/workload.js';
import { native } from '../../dist/torch/native.js';

const [folder] = process.argv.slice(2);
native();
mkdirSync(folder, { recursive: true });
const model = { vit: 'tiny', image_size: 96, queue_size: 64, device: 'cuda', precision: 'fp32' };
const checkpoint = join(folder, 'tiny.pth');
await writeDrawnCheckpoint(checkpoint, model);
const draw = (images, batch) => drawInputs(folder, { image_size: 96, batch, seed: 1 }, images, images);
const { found } = createRequire(import.meta.url)('../../.build/sync_debug.node');
if (!found) {
  console.log('LibTorch here does not count its waits.');
  process.exit(4);
}
/** The caller reads `mark NAME UNITS`: how many images or steps the lines after it belong to, until the next mark. */
const mark = (name, units = 0) => writeSync(2, `\nmark ${name} ${units}\n`);
await load({ checkpoint, ...model });
// The same work but for the number of images, so that what stands before and after the loop falls out of the difference.
for (const images of [8, 8, 24]) {
  const inputs = await draw(images, 8);
  mark('rerank', images);
  await rerank({ ...inputs, k: 4 });
  mark('end');
}
await loadTraining({ checkpoint, ...model, vit_ckpt_layer: 1 });
for (const steps of [2, 2, 10]) {
  const inputs = await draw(4 * steps, 4);
  mark('train', steps);
  await trainSteps(inputs);
  mark('end');
}
