// What a demo's folder was drawn with: two data sets in one folder would mix, and a demo that is resumed is the same again.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cannotWrite } from '../disk/cannot-write.js';
import { readJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { UserError } from '../errors.js';

const Settings = schema((z) =>
  // `epochs`, which earlier versions did not note, may be another one in the same folder: the data do not depend on it.
  z.object({ seed: z.int(), train_images: z.int(), images: z.int(), epochs: z.int().optional() }),
);
export type DemoSettings = ValueOf<typeof Settings>;

const fileIn = (data: string) => join(data, 'demo.json');

/** What the data set in the folder `data` was drawn with; undefined where there is none. */
export function earlierSettings(data: string): DemoSettings | undefined {
  return existsSync(fileIn(data)) ? readJson(fileIn(data), Settings) : undefined;
}

/**
 * Notes in `data`, the folder of the data set, what it is drawn with.
 * @throws UserError where it was drawn with other settings, or the folder cannot be written
 */
export function claimFolder(data: string, settings: DemoSettings): void {
  const earlier = earlierSettings(data);
  const flags = (of: DemoSettings) => `--seed ${of.seed} --train_images ${of.train_images} --images ${of.images}`;
  if (earlier !== undefined && flags(earlier) !== flags(settings))
    throw new UserError(
      `${data} holds a data set of ${flags(earlier)}, and this demo asks for ${flags(settings)}: one folder cannot hold both. ` +
        'Give the same flags, or another --output_dir.',
      { exitCode: 2 },
    );
  const path = fileIn(data);
  try {
    mkdirSync(data, { recursive: true });
    writeFileSync(path, `${JSON.stringify(settings)}\n`);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
