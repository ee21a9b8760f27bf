// Checks before a long run that a data set's images exist: some are first read hours later.
import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';
import { type TextList, texts } from './text-list.js';

/**
 * @param paths an array may have a path more than once; other lists have each once
 * @throws UserError with the number of absent files of `what` (`the val split`) and the first of them
 */
export function requireImages(paths: TextList, what: string): void {
  const different: TextList = Array.isArray(paths) ? [...new Set<string>(paths)] : paths;
  const absent: string[] = [];
  for (const [, path] of texts(different)) if (!existsSync(path)) absent.push(path);
  if (absent.length === 0) return;
  throw new UserError(
    `${absent.length} of the ${different.length} images of ${what} do not exist; the first is ${absent[0]}. Correct image_root or the annotation, or set \`skipBadImages\` to use grey images instead.`,
  );
}
