// The bytes of an image file. Other things than files in its place are named, and never waited for.
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { codeOf, messageOf, UserError } from '../../errors.js';

/** @throws UserError, with the path and `remedy`, where there is no file that can be read */
export function readImageFile(path: string, remedy = 'Correct image_root or the annotation.'): Buffer {
  const say = (what: string, cause?: unknown) => new UserError(`The image ${path} ${what}. ${remedy}`, { cause });
  try {
    // A pipe without a writer would hold up an open that waits.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(file);
      if (!stats.isFile()) throw say(`cannot be read (it is ${kindOf(stats)}, not a file)`);
      return readFileSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw say(reasonOf(error), error);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a folder';
  if (stats.isFIFO()) return 'a pipe';
  return stats.isSocket() ? 'a socket' : 'a device';
}

function reasonOf(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'does not exist';
    case 'ELOOP':
      return 'cannot be read (it is a symbolic link that leads to itself)';
    case 'EACCES':
    case 'EPERM':
      return 'cannot be read (no permission)';
    case 'ENXIO':
      return 'cannot be read (it is a socket or a device, not a file)';
    default:
      return `cannot be read (${messageOf(error)})`;
  }
}
