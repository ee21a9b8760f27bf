// Draws a data set of scenes with captions, in the layout of COCO's annotations as the reference reads it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { annotationFileName, type Split } from '../data/annotations.js';
import { Random } from '../data/random.js';
import { cannotWrite } from '../disk/cannot-write.js';
import { makeFolder } from '../disk/folder.js';
import { at, UserError } from '../errors.js';
import { captionsOf, drawScene, SCENE_COUNT, sceneAt } from './scene.js';

export interface DataSetOptions {
  /** Number of images of each split; an empty split gets no annotation file. */
  train: number;
  val: number;
  test: number;
  /** Equal seeds give equal scenes, captions and pixels. */
  seed: number;
}

/** Folders of a drawn data set, for `image_root` and `ann_root` of a config. */
export interface DataSetFolders {
  imageRoot: string;
  annRoot: string;
}

const JPEG_QUALITY = 92;

/**
 * Draws the images and writes `annotation/coco_karpathy_{train,val,test}.json` below `folder`. No scene occurs twice.
 * Train rows are {caption, image, image_id}, one a caption; val and test rows are {image, caption: [5]}.
 * @throws UserError when more images are asked for than there are scenes (SCENE_COUNT), or a file cannot be written
 */
export async function drawDataSet(folder: string, options: DataSetOptions): Promise<DataSetFolders> {
  const total = options.train + options.val + options.test;
  if (total > SCENE_COUNT) {
    const why = 'There are no more different scenes';
    throw new UserError(`Expected at most ${SCENE_COUNT} images in all but received ${total}. ${why}.`, {
      exitCode: 2,
    });
  }
  const random = new Random(options.seed);
  const indices = shuffledIndices(total, random);
  const folders = { imageRoot: join(folder, 'images'), annRoot: join(folder, 'annotation') };
  makeFolder(folders.annRoot);
  for (const split of ['train', 'val', 'test'] as const) {
    const scenes = indices.splice(0, options[split]).map(sceneAt);
    if (scenes.length === 0) continue;
    makeFolder(join(folders.imageRoot, split));
    const rows: object[] = [];
    for (const [i, scene] of scenes.entries()) {
      const image = `${split}/${split}_${String(i).padStart(6, '0')}.jpg`;
      await writeJpeg(join(folders.imageRoot, image), drawScene(scene, random));
      const captions = captionsOf(scene);
      if (split === 'train') rows.push(...captions.map((caption) => ({ caption, image, image_id: `${split}_${i}` })));
      else rows.push({ image, caption: captions });
    }
    writeSplit(folders.annRoot, split, rows);
  }
  return folders;
}

/** The first `count` of a random order of all scenes (Fisher and Yates). */
function shuffledIndices(count: number, random: Random): number[] {
  const indices = Array.from({ length: SCENE_COUNT }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + random.below(SCENE_COUNT - i);
    [indices[i], indices[j]] = [at(indices, j), at(indices, i)];
  }
  return indices.slice(0, count);
}

/** Writes the annotations of one split. @throws UserError when the file cannot be written */
export function writeSplit(annRoot: string, split: Split, rows: readonly object[]): void {
  writeFile(join(annRoot, annotationFileName('coco', split)), `${JSON.stringify(rows, null, 1)}\n`);
}

/** Writes decoded pixels (height, width, 3) as a picture. @throws UserError when the file cannot be written */
export async function writeJpeg(path: string, { width, height, pixels }: ReturnType<typeof drawScene>): Promise<void> {
  const image = sharp(pixels, { raw: { width, height, channels: 3 } });
  writeFile(path, await image.jpeg({ quality: JPEG_QUALITY }).toBuffer());
}

function writeFile(path: string, content: string | Uint8Array): void {
  try {
    writeFileSync(path, content);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
