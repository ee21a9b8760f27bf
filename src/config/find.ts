// The configs that come with the package, by short names: `retrieval_coco` is its configs/retrieval_coco.yaml.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nearestName } from './nearest.js';

const FOLDER = fileURLToPath(new URL('../../configs', import.meta.url));

/** The short names of the packaged configs; none where only the code was taken along, as bundlers do. */
function packagedConfigs(): string[] {
  if (!existsSync(FOLDER)) return [];
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml'));
  return files.map((name) => basename(name, '.yaml')).sort();
}

/** The path of the config that `name` means: a file of that path, else the packaged one of that short name. */
export function findConfig(name: string): string {
  const short = name.replace(/\.ya?ml$/, '');
  return packagedConfigs().includes(short) && !isFile(name) ? join(FOLDER, `${short}.yaml`) : name;
}

/** A folder is no config, whatever its name; a pipe may be one. */
function isFile(path: string): boolean {
  return existsSync(path) && !statSync(path).isDirectory();
}

/** What follows a sentence on a path where there is no file: the packaged config that may be meant. No full stop ends it. */
export function configHint(path: string): string {
  const known = packagedConfigs();
  const near = nearestName(basename(path).replace(/\.ya?ml$/i, ''), known);
  if (near !== undefined) return `, or pass --config ${near}, which comes with this program`;
  return /[/\\.]/.test(path) || known.length === 0
    ? ''
    : `. The configs that come with this program are ${known.join(', ')}`;
}
