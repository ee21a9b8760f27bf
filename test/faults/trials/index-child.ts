// A process that indexes a folder and then changes and syncs it without end: the victim of trials/index-kill.ts.
// Usage: node index-child.js CHECKPOINT PHOTOS FOLDER SEED
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '#blip/data/random.js';
import { at } from '#blip/errors.js';
import { Retriever } from '#blip/index.js';

const [checkpoint = '', photos = '', folder = '', seed = ''] = process.argv.slice(2);
const random = new Random(Number(seed));
const sources = readdirSync(photos).filter((name) => name.endsWith('.jpg'));
mkdirSync(folder, { recursive: true });
const files = () => readdirSync(folder);
const copy = () =>
  copyFileSync(join(photos, at(sources, random.below(sources.length))), join(folder, `${random.below(1e9)}.jpg`));

while (files().length < 20) copy();
const blip = await Retriever.open(checkpoint, { device: 'cpu', threads: 1 });
console.log('begins');
const index = await blip.createIndex(folder, { keepTokens: Number(seed) % 2 === 1 });
for (let round = 0; ; round++) {
  const [first = '', second = ''] = files();
  if (round % 3 === 0) rmSync(join(folder, first));
  if (round % 3 === 1) renameSync(join(folder, second), join(folder, `${random.below(1e9)}.jpg`));
  while (files().length < 20) copy();
  if (round % 5 === 4) copyFileSync(join(photos, at(sources, round % sources.length)), join(folder, first));
  await index.sync();
  if (round % 4 === 3) await index.compact();
}
