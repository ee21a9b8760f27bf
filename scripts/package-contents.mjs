// What the tarball contains, and what it should contain.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `npm pack` into `destination`; without one, only its list. Runs no script. Returns npm's report of the tarball. */
export function pack(root, destination) {
  const where = destination === undefined ? ['--dry-run'] : ['--pack-destination', destination];
  const text = execFileSync('npm', ['pack', '--json', '--ignore-scripts', ...where], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(text)[0];
}

const PREBUILT = ['image.node', 'boot.node', 'torch.node', 'libblip_nccl.so', 'libtorch.json'];

function filesBelow(root, folder) {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1));
}

/** One line for each file that is in the tarball and not needed, or needed and missing. */
export function contentDefects(paths, root) {
  const sources = filesBelow(root, 'src').filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
  const compiled = sources.flatMap((path) => {
    const stem = path.replace(/^src/, 'dist').replace(/\.ts$/, '');
    return [`${stem}.js`, `${stem}.d.ts`];
  });
  const single = ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE', 'CMakeLists.txt'];
  const wanted = new Set([
    ...single,
    ...compiled,
    ...filesBelow(root, 'native'),
    ...filesBelow(root, 'configs'),
    ...filesBelow(root, 'bench'),
    ...filesBelow(root, 'examples'),
    ...filesBelow(root, 'docs'),
    ...PREBUILT.map((name) => `prebuilds/${process.platform}-${process.arch}/${name}`),
  ]);
  const present = new Set(paths);
  return [
    ...[...wanted].filter((path) => !present.has(path)).map((path) => `  missing: ${path}`),
    ...[...present].filter((path) => !wanted.has(path)).map((path) => `  not needed: ${path}`),
  ].sort();
}

// Run directly: prints the tarball's size and its defects as JSON, for test/package. With a folder, packs into it.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = dirname(dirname(process.argv[1]));
  const { filename, size, files } = pack(root, process.argv[2]);
  const paths = files.map((file) => file.path);
  console.log(JSON.stringify({ filename, size, defects: contentDefects(paths, root) }));
}
