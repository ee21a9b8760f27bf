// Whether the images of a data set are there at all: asked before hours of work, since the last ones are read at their end.
import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';

/** @throws UserError with the first of the files of `what` (`the val split`) that are absent, and their number */
export function requireImages(paths: readonly string[], what: string): void {
  const different = new Set(paths);
  const absent = [...different].filter((path) => !existsSync(path));
  if (absent.length === 0) return;
  throw new UserError(
    `${absent.length} of the ${different.size} images of ${what} do not exist, ${absent[0]} is the first: correct image_root or the annotation, or pass --skip_bad_images to go on without them.`,
  );
}
