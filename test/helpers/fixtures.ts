// Where the golden files are: the small ones in test/golden, the large ones beside the checkout or in BLIP_FIXTURES.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(from: string): string {
  return existsSync(join(from, 'package.json')) ? from : findRoot(dirname(from));
}

/** The project's root folder; compiled tests run from .build/test below it. */
export const projectRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

const folders = [
  join(projectRoot, 'test/golden'),
  process.env.BLIP_FIXTURES ? resolve(process.env.BLIP_FIXTURES) : resolve(projectRoot, '../shared/reference/fixtures'),
];

/** Full path of the golden `name` (`eval.json`, `pth_zoo/zip.pth`, `data`), or undefined where it is absent. */
export function fixture(name: string): string | undefined {
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** What a test says when it is skipped because a golden is absent. */
export function absent(name: string): string {
  return `golden ${name} is absent: set BLIP_FIXTURES to the folder of the reference's fixtures`;
}
