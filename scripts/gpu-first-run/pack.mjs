// Packs what a machine with PyTorch and an NVIDIA driver, but without Node and network, needs to run this program and its
// GPU tests: Node, the compiled program, the addon, compiled tests, goldens and run-time packages.
// Usage: node pack.mjs [OUT]     OUT is an archive (.tar.xz), or, with a slash at its end, a folder that is not archived.
// BLIP_REFERENCE=CHECKOUT packs salesforce/BLIP and its Python packages as well, for the comparison of speed.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { bootstrap, ensureTests, root } from '../build-steps.mjs';
import { buildSyncDebug } from './sync-debug.mjs';

/** What travels to a borrowed machine is limited, often to 64 MiB together with the checkout. */
const MOST_BYTES = 60 * 2 ** 20;
/** Packages that only build the addon. */
const BUILD_ONLY = ['cmake-js', 'node-addon-api', 'node-api-headers'];
/** Recordings too large for test/golden that GPU tests read; packed where such a test is there. */
const RECORDINGS = ['law.json', 'law.pth', 'law.safetensors'];
/** With which the reference runs on today's Python (bench/reference_shims.py), less what a machine with PyTorch has. */
const REFERENCE_PACKAGES = ['transformers==4.26.1', 'timm==0.4.12', 'fairscale==0.4.13', 'huggingface-hub==0.25.2'];

function fail(message) {
  console.error(message);
  process.exit(1);
}

function run(command, args, options = {}) {
  const { status, error, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  if (status !== 0)
    fail(`${command} ${args[0]} failed: ${error?.message ?? stderr?.trim() ?? `exit status ${status}`}.`);
}

const tried = (command, args) => spawnSync(command, args, { cwd: root, encoding: 'utf8' });

/** Folders of the packages that run in the program, by npm's rule: beside the package that wants them, or above. */
function packageFolders() {
  const read = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  const folders = new Set();
  const find = (name, from) => {
    for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules') - 1))) {
      const folder = join(at, 'node_modules', name);
      if (existsSync(join(root, folder, 'package.json'))) return folder;
      if (at === '') return undefined;
    }
  };
  const take = (name, from) => {
    const folder = find(name, from);
    if (folder === undefined || folders.has(folder) || /musl|wasm/.test(name)) return;
    folders.add(folder);
    const { dependencies = {}, optionalDependencies = {} } = read(folder);
    for (const other of Object.keys({ ...dependencies, ...optionalDependencies })) take(other, folder);
  };
  for (const name of Object.keys(read('').dependencies)) if (!BUILD_ONLY.includes(name)) take(name, '');
  return [...folders];
}

/** Copies a package; those below its own node_modules are packed where they are needed themselves. */
function copyPackage(folder, stage) {
  const from = join(root, folder);
  const isWanted = (path) => !path.slice(from.length).includes('/node_modules') && !/\.(d\.[cm]?ts|map|md)$/.test(path);
  cpSync(from, join(stage, folder), { recursive: true, filter: isWanted });
}

/** The larger recordings that the compiled GPU tests name. */
function recordings() {
  const folder = process.env.BLIP_FIXTURES ?? join(root, '../shared/reference/fixtures');
  const texts = ['gpu', 'helpers'].flatMap((name) =>
    readdirSync(join(root, '.build/test', name)).map((file) =>
      readFileSync(join(root, '.build/test', name, file), 'utf8'),
    ),
  );
  const isNamed = (file) => texts.some((text) => text.includes(file) || text.includes(file.replace(/\..*/, '.$')));
  return RECORDINGS.filter(isNamed)
    .map((file) => {
      if (!existsSync(join(folder, file)))
        console.error(`${file}, which a GPU test reads, is not packed: set BLIP_FIXTURES.`);
      return join(folder, file);
    })
    .filter(existsSync);
}

function packReference(checkout, stage) {
  for (const name of ['models', 'data', 'transform', 'configs', 'utils.py', 'train_retrieval.py'])
    cpSync(join(checkout, name), join(stage, 'reference/BLIP', name), { recursive: true });
  const site = join(stage, 'reference/site');
  run(
    'python3',
    ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-compile', '--target', site, ...REFERENCE_PACKAGES],
    { stdio: 'inherit' },
  );
  // These transformers refuse today's tokenizers, and run without any.
  writeFileSync(join(site, 'sitecustomize.py'), "import sys\nsys.modules['tokenizers'] = None\n");
}

function archive(stage, out) {
  mkdirSync(dirname(out), { recursive: true });
  rmSync(out, { force: true });
  if (tried('xz', ['--version']).status === 0)
    run('bash', ['-c', 'set -o pipefail; tar -C "$1" -cf - . | xz -T0 -3 > "$2"', 'bash', stage, out]);
  else
    run('python3', ['-c', 'import sys, tarfile; tarfile.open(sys.argv[2], "w:xz").add(sys.argv[1], ".")', stage, out]);
}

const target = process.argv[2] ?? '.gpu/first-run.tar.xz';
const isFolder = target.endsWith('/');
const out = resolve(target);
await bootstrap();
ensureTests();
const stage = isFolder ? out : mkdtempSync(join(tmpdir(), 'blip-pack-'));
mkdirSync(join(stage, 'bin'), { recursive: true });
copyFileSync(realpathSync(process.execPath), join(stage, 'bin/node'));
tried('strip', [join(stage, 'bin/node')]); // a third smaller; it runs as it is too
for (const name of ['dist', 'configs', 'bench', 'test/golden', 'scripts/gpu-first-run'])
  cpSync(join(root, name), join(stage, name), { recursive: true, filter: (path) => !path.endsWith('.d.ts') });
cpSync(join(root, '.build/test'), join(stage, '.build/test'), { recursive: true });
for (const name of ['package.json', 'LICENSE']) copyFileSync(join(root, name), join(stage, name));
copyFileSync(join(root, 'scripts/gpu-first-run.sh'), join(stage, 'gpu-first-run.sh'));
mkdirSync(join(stage, 'build/Release'), { recursive: true });
for (const name of readdirSync(join(root, 'build/Release')).filter((file) => /\.(node|so|json)$/.test(file)))
  copyFileSync(join(root, 'build/Release', name), join(stage, 'build/Release', name));
for (const folder of packageFolders()) copyPackage(folder, stage);
for (const file of recordings()) {
  mkdirSync(join(stage, 'fixtures'), { recursive: true });
  cpSync(file, join(stage, 'fixtures', file.split('/').at(-1)));
}
if (!buildSyncDebug(root, join(stage, '.build/sync_debug.node')))
  console.error('Without a C compiler (cc) the waits for the GPU will not be counted.');
const commit = tried('git', ['rev-parse', '--short', 'HEAD']).stdout?.trim() || 'unknown';
const changed = tried('git', ['status', '--porcelain', '--untracked-files=no']).stdout?.trim() ? ', changed' : '';
writeFileSync(join(stage, 'commit.txt'), `${commit}${changed}\n`);
if (process.env.BLIP_REFERENCE) packReference(resolve(process.env.BLIP_REFERENCE), stage);

if (isFolder) console.log(`${out} is ready. Run: bash ${join(out, 'gpu-first-run.sh')}`);
else {
  archive(stage, out);
  rmSync(stage, { recursive: true });
  const { size } = statSync(out);
  console.log(`${out}: ${(size / 2 ** 20).toFixed(1)} MiB, commit ${commit}${changed}. On the machine with the GPU:`);
  console.log(`  mkdir -p /tmp/g && python3 -m tarfile -e ${target} /tmp/g && bash /tmp/g/gpu-first-run.sh`);
  if (size > MOST_BYTES) fail(`That is more than ${MOST_BYTES / 2 ** 20} MiB, the most that is sure to travel.`);
}
