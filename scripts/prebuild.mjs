// Puts the addon, built and stripped, where an installed package looks for it: prebuilds/<platform>-<arch>. `npm pack` runs
// this. Usage: node scripts/prebuild.mjs
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { bootstrap, root } from './build-steps.mjs';

const product = (name) => import(pathToFileURL(join(root, 'dist', name)).href);

/** The newest glibc whose symbols the files ask for, `2.34`: the names stand in them as text. */
function neededGlibc(paths) {
  const versions = paths.flatMap((path) => readFileSync(path, 'latin1').match(/\bGLIBC_\d+\.\d+/g) ?? []);
  return versions.map((name) => name.slice(6)).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))[0];
}

/** Builds the addon if necessary and copies it. @returns the folder */
export async function prebuild() {
  await bootstrap();
  const { addonFilesIn, findAddon, readBuildRecord, requiredFiles } = await product('libtorch/addon-files.js');
  const { sameMinor, targetVersion } = await product('libtorch/search.js');
  const built = findAddon({ root });
  const { version, stamp } = readBuildRecord(built);
  if (!sameMinor(version, targetVersion))
    throw new Error(`The addon is built for LibTorch ${version}. Run setup with LibTorch ${targetVersion}, then pack.`);
  const to = addonFilesIn(join(root, 'prebuilds', `${process.platform}-${process.arch}`));
  if (readBuildRecord(to)?.stamp === stamp) return to.folder;
  rmSync(join(root, 'prebuilds'), { recursive: true, force: true });
  mkdirSync(to.folder, { recursive: true });
  const paths = [...requiredFiles(built), built.nccl];
  for (const path of paths) copyFileSync(path, join(to.folder, basename(path)));
  const copies = paths.map((path) => join(to.folder, basename(path)));
  execFileSync('strip', ['--strip-unneeded', ...copies]);
  const record = { version, stamp, glibc: neededGlibc(copies) };
  writeFileSync(to.record, `${JSON.stringify(record, undefined, 2)}\n`);
  return to.folder;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await prebuild();
