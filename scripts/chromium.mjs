// Prints the path of a Chromium for the tests of the page, or, with exit code 1, why there is none: BLIP_CHROMIUM, what PATH
// has, or Debian's, which is installed once in CI (CI set, root, apt-get).
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function find() {
  const named = process.env.BLIP_CHROMIUM;
  if (named) return isProgram(named) ? named : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isProgram);
}

function install() {
  const quiet = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  if (spawnSync('apt-get', ['update'], quiet).status !== 0) return;
  spawnSync('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], quiet);
}

let path = find();
if (path === undefined && process.env.CI && !process.env.BLIP_CHROMIUM && process.getuid?.() === 0) {
  install();
  path = find();
}
if (path === undefined) {
  console.log('there is no Chromium: install chromium, or set BLIP_CHROMIUM');
  process.exitCode = 1;
} else console.log(path);
