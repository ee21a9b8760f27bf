// Writes what a run of the command line needs, with the helpers of the tests, and prints the path of its config.
// Usage: node make-run.mjs tiny FOLDER                        weights and config of rule_tiny
//        node make-run.mjs coco FOLDER CHECKPOINT [--small]   COCO's test split in size: 5,000 images, 25,010 captions

import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { COCO, writeCocoSize } from '../../.build/test/helpers/coco-size.js';
import { tinyRun, writeConfigFile } from '../../.build/test/helpers/tiny-run.js';
import { drawDataset } from '../../dist/bench/workload.js';

const [kind, folder, checkpoint] = process.argv.slice(2);
const small = process.argv.includes('--small');
/** Pictures of 640 x 480 pixels, as COCO's, of which every image is a link to one: decoding costs what it does there. */
const PICTURES = 32;

async function cocoRun() {
  await drawDataset(folder, PICTURES);
  const pictures = Array.from({ length: PICTURES }, (_, i) => readFileSync(join(folder, `${i}.jpg`)));
  const test = small ? [24, 120] : COCO.test;
  const { imageRoot, annRoot } = writeCocoSize(folder, { val: [8, 40], test }, pictures);
  const size = small ? { vit: 'tiny', image_size: 96, k_test: 8 } : { vit: 'base', image_size: 384, k_test: 256 };
  const values = {
    image_root: imageRoot,
    ann_root: annRoot,
    dataset: 'coco',
    pretrained: checkpoint,
    batch_size_test: 64,
  };
  return writeConfigFile(join(folder, 'coco.yaml'), { ...values, ...size });
}

mkdirSync(folder, { recursive: true });
console.log(kind === 'coco' ? await cocoRun() : await tinyRun(folder));
