// `bench open`, `overhead`, `loader`: one small piece of work, measured in both programs by turns.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { type Machine, machine } from './machine.js';
import { drawCheckpoint, startOwn, startReference } from './programs.js';
import { type Command, type ModelSetting, Timed } from './protocol.js';
import { withScratch } from './scratch.js';
import { type Summary, summary } from './statistics.js';
import { drawImages } from './workload.js';

export interface SmallOptions {
  /** Folder of a checkout of salesforce/BLIP. */
  reference: string;
  /** Python that has its packages. */
  python: string;
  rounds: number;
  threads: number;
}

export interface SmallReport {
  machine: Machine;
  versions: { own: Record<string, string>; reference: Record<string, string> };
  /** What one unit of the figures is: `ms to open 1.8 GiB`, `µs a call`, `ms an image`. */
  unit: string;
  own: Summary;
  reference: Summary;
  /** The reference's best time divided by ours: above 1 means that ours is faster. */
  ratio: number;
}

/** Opening a checkpoint: every tensor named and mapped, no number read. Without `pretrained` one of base size is drawn. */
export function benchOpen(options: SmallOptions & { pretrained?: string }): Promise<SmallReport> {
  return withScratch(async (folder) => {
    const checkpoint = options.pretrained ?? join(folder, 'drawn.pth');
    if (options.pretrained === undefined) {
      const published = { vit: 'base', image_size: 384, queue_size: 57600 } satisfies Partial<ModelSetting>;
      await drawCheckpoint({ ...published, checkpoint });
    }
    return await alternate(options, folder, { op: 'open', checkpoint }, 'ms to open the checkpoint', 1e3);
  });
}

/** What one call of one operator costs beyond its arithmetic: the sum of two tensors of four elements. */
export function benchOverhead(options: SmallOptions): Promise<SmallReport> {
  const calls = 100_000;
  return withScratch((folder) =>
    alternate(options, folder, { op: 'overhead', calls }, 'µs a call of add', 1e6 / calls),
  );
}

/** The evaluation transform in one thread: JPEG files of COCO's size, decoded, resized to a square, normalised. */
export function benchLoader(options: SmallOptions & { images: number; image_size: number }): Promise<SmallReport> {
  return withScratch(async (folder) => {
    await drawDataset(folder, options.images);
    const command = { op: 'transform', image_root: folder, ann_root: folder, image_size: options.image_size } as const;
    return await alternate(options, folder, command, 'ms an image', 1e3 / options.images);
  });
}

/** The same command in both programs, `rounds` times each, A B A B; seconds times `scale` are the report's unit. */
async function alternate(
  options: SmallOptions,
  folder: string,
  command: Command,
  unit: string,
  scale: number,
): Promise<SmallReport> {
  const at = machine();
  const reference = await startReference({ ...options, folder });
  try {
    const own = await startOwn(options.threads);
    try {
      const times: Record<'own' | 'reference', number[]> = { own: [], reference: [] };
      for (let round = 0; round < options.rounds; round++) {
        times.reference.push((await reference.worker.ask(command, Timed)).seconds * scale);
        times.own.push((await own.worker.ask(command, Timed)).seconds * scale);
      }
      const figures = { own: summary(times.own), reference: summary(times.reference) };
      return {
        machine: at,
        versions: { own: own.hello.versions, reference: reference.hello.versions },
        unit,
        ...figures,
        ratio: figures.reference.min / figures.own.min,
      };
    } finally {
      await own.worker.close();
    }
  } finally {
    await reference.worker.close();
  }
}

/**
 * JPEG files of 640 x 480 pixels and, since the reference's data module opens all three, annotations of every split.
 * @param trainRows rows of the train split, in which the images come in turn
 */
export async function drawDataset(folder: string, images: number, trainRows = 1): Promise<void> {
  mkdirSync(join(folder, 'val'));
  const rows: { image: string; caption: string[] }[] = [];
  for (let i = 0; i < images; i++) {
    const pixels = drawImages(1, 640, i).subarray(0, 480 * 640 * 3);
    const image = `val/${i}.jpg`;
    await sharp(pixels, { raw: { width: 640, height: 480, channels: 3 } })
      .jpeg({ quality: 92 })
      .toFile(join(folder, image));
    rows.push({ image, caption: ['a drawing'] });
  }
  const write = (split: string, content: unknown) =>
    writeFileSync(join(folder, `coco_karpathy_${split}.json`), JSON.stringify(content));
  const trainRow = (i: number) => ({ image: rows[i % images]?.image, caption: 'a drawing', image_id: `${i % images}` });
  write(
    'train',
    Array.from({ length: trainRows }, (_, i) => trainRow(i)),
  );
  write('val', rows);
  write('test', rows);
}
