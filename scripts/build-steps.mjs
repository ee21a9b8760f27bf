// The steps of bootstrap.mjs: packages, TypeScript, LibTorch and addon, each only if it is missing or out of date.
// Uses nothing but Node, since nothing else may be there yet.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Ends this process with a sentence, not a stack. */
function fail(message, code = 1) {
  console.error(message);
  process.exit(code || 1);
}

function run(command, args, what) {
  const { status, error, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) fail(`${what} could not be started: ${error.message}`);
  if (status !== 0) fail(`${what} failed (${signal ?? `exit status ${status}`}). See the lines above.`, status ?? 1);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Whether node_modules holds what package-lock.json lists (npm notes there what it has installed). */
export function packagesAreCurrent() {
  const wanted = readJson(join(root, 'package-lock.json'))?.packages;
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!wanted || !installed) return false;
  return Object.entries(wanted).every(([path, { version, optional, peer, link }]) => {
    // Most optional packages are for other systems.
    if (path === '' || link || (installed[path] === undefined && (optional || peer))) return true;
    return installed[path]?.version === version && existsSync(join(root, path));
  });
}

function filesBelow(folder, ending) {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** Compiles a project unless its sources are the same as last time. `product` is one of the files that it writes. */
function compile(name, project, folder, product, others = []) {
  const files = [
    ...filesBelow(folder, '.ts'),
    ...others,
    project,
    'tsconfig.json',
    'node_modules/typescript/package.json',
  ];
  const hash = createHash('sha256');
  for (const file of files.sort()) {
    const path = file.startsWith(root) ? file : join(root, file);
    const info = statSync(path, { throwIfNoEntry: false });
    hash.update(`${path} ${info?.size} ${info?.mtimeMs}\n`);
  }
  const stamp = join(root, '.build', `${name}.stamp`);
  const digest = hash.digest('hex');
  const last = existsSync(stamp) ? readFileSync(stamp, 'utf8').trim() : '';
  if (last === digest && existsSync(join(root, product))) return;
  console.error(`Compiling TypeScript (${folder})`);
  run(
    process.execPath,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, project)],
    'The TypeScript compiler',
  );
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, `${digest}\n`);
}

export function ensurePackages() {
  if (packagesAreCurrent()) return;
  console.error('Installing packages (npm ci)');
  // npm names its program in the environment; the development packages are needed whatever NODE_ENV says.
  const npm = process.env.npm_execpath;
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund'];
  if (npm?.endsWith('.js')) run(process.execPath, [npm, ...args], 'npm ci');
  else run('npm', args, 'npm ci');
}

/** Removes from dist what was compiled from a source that is gone, or it would be published. */
function prune() {
  for (const path of filesBelow('dist', '')) {
    const source = relative(join(root, 'dist'), path).replace(/(\.d\.ts|\.js)$/, '.ts');
    if (!existsSync(join(root, 'src', source))) rmSync(path);
  }
}

export function ensureTypeScript() {
  compile('src', 'tsconfig.json', 'src', 'dist/cli.js');
  prune();
}

/** Tests import the product's types, so a change in src compiles them again. */
export function ensureTests() {
  compile('test', 'test/tsconfig.json', 'test', '.build/test', filesBelow('src', '.ts'));
}

/** Builds the addon if it is missing or does not fit its sources; this may fetch LibTorch, and says so before it does. */
export async function ensureAddon() {
  const { buildDefect } = await import(pathToFileURL(join(root, 'dist/setup/build.js')).href);
  const defect = buildDefect();
  if (defect === undefined) return;
  console.error(`Setting up: ${defect}`);
  run(process.execPath, [join(root, 'dist/cli.js'), 'setup'], 'Setup');
}

export async function bootstrap() {
  ensurePackages();
  ensureTypeScript();
  await ensureAddon();
}
