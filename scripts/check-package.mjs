// Checks what would be published: publint, the tarball's size and contents, its types, and that it works when installed
// into an empty folder. Usage: node scripts/check-package.mjs [--installed: only the last, which another Node may change]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './build-steps.mjs';
import { contentDefects, pack } from './package-contents.mjs';
import { prebuild } from './prebuild.mjs';

const limit = 1_500_000;

function run(command, args, cwd) {
  console.log(`$ ${[command, ...args].join(' ')}`);
  // Under `npm run`, npm tells its children which package they are in; the installed one must find out for itself.
  const own = /^(npm_(package|lifecycle)_|npm_(command|execpath|config_local_prefix)$|INIT_CWD$)/;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)));
  return execFileSync(command, args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function demand(condition, message) {
  if (!condition) throw new Error(message);
}

await prebuild();
const bin = (name) => join(root, 'node_modules', '.bin', name);
const scratch = mkdtempSync(join(tmpdir(), 'blip-package-'));
try {
  if (!process.argv.includes('--installed')) {
    console.log(run(bin('publint'), ['--strict', root], root));
    run(bin('tsd'), ['--typings', 'dist/index.d.ts', '--files', 'test/types/*.test-d.ts'], root);
  }

  const packed = pack(root, scratch);
  console.log(`${packed.filename}: ${packed.size} bytes, ${packed.files.length} files`);
  demand(packed.size < limit, `The tarball has ${packed.size} bytes; at most ${limit} are allowed.`);
  const defects = contentDefects(
    packed.files.map((file) => file.path),
    root,
  );
  demand(defects.length === 0, `The tarball's contents are wrong:\n${defects.join('\n')}`);

  const folder = join(scratch, 'empty');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  run(
    'npm',
    ['install', '--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', join(scratch, packed.filename)],
    folder,
  );
  run('npx', ['--no-install', 'blip-retrieval', 'setup'], folder);
  const version = run('npx', ['--no-install', 'blip-retrieval', '--version'], folder).trim();
  demand(version === packed.version, `The installed command reports version ${version} instead of ${packed.version}.`);
  const report = JSON.parse(run('npx', ['--no-install', 'blip-retrieval', 'doctor', '--json'], folder));
  demand(report.usable, `The installed package is not usable: ${JSON.stringify(report.defects)}`);
  demand(report.addon.path.startsWith(folder), `The installed package uses the addon ${report.addon.path}.`);
  const nccl = existsSync(join(root, 'build/Release/libblip_nccl.so'));
  demand(report.addon.nccl || !nccl, `The installed package has no part for NCCL: ${report.addon.ncclDefect}`);
  run(
    process.execPath,
    ['--input-type=module', '-e', "await import('blip-retrieval'); await import('blip-retrieval/core')"],
    folder,
  );
  console.log(`The installed package works (${version}, LibTorch ${report.libtorch.version}).`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
