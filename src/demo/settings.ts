// What a demo's folder was drawn with: two data sets in one folder would mix.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cannotWrite } from '../disk/cannot-write.js';
import { readJson } from '../disk/json-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { UserError } from '../errors.js';

const Settings = schema((z) => z.object({ seed: z.int(), train_images: z.int(), images: z.int() }));
export type DemoSettings = ValueOf<typeof Settings>;

/**
 * Notes in `data`, the folder of the data set, what it is drawn with.
 * @throws UserError where it was drawn with other settings, or the folder cannot be written
 */
export function claimFolder(data: string, settings: DemoSettings): void {
  const path = join(data, 'demo.json');
  const earlier = existsSync(path) ? readJson(path, Settings) : undefined;
  if (earlier !== undefined) {
    const flags = (of: DemoSettings) => `--seed ${of.seed} --train_images ${of.train_images} --images ${of.images}`;
    if (flags(earlier) === flags(settings)) return;
    throw new UserError(
      `${data} holds a data set of ${flags(earlier)}, and this demo asks for ${flags(settings)}: one folder cannot hold both. ` +
        'Give the same flags, or another --output_dir.',
      { exitCode: 2 },
    );
  }
  try {
    mkdirSync(data, { recursive: true });
    writeFileSync(path, `${JSON.stringify(settings)}\n`);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
