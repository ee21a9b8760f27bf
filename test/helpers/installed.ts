// This package as `npm install` would leave it in an empty project, without a registry: the tarball's files, and links to
// the packages that it depends on.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { findAddon, readBuildRecord, recordedLibtorch } from '#blip/libtorch/addon-files.js';
import { sameMinor, targetVersion } from '#blip/libtorch/search.js';
import { temporaryFolder } from './files.js';
import { projectRoot } from './fixtures.js';

export interface Packed {
  filename: string;
  size: number;
  defects: string[];
}

/** Why no tarball can be made here; false where it can. */
export const cannotPack = (() => {
  const version = readBuildRecord(findAddon())?.version ?? 'no version';
  return sameMinor(version, targetVersion) ? false : `the addon is built for LibTorch ${version}, not ${targetVersion}`;
})();

function run(script: string, args: string[]): string {
  const options = { cwd: projectRoot, encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(projectRoot, script), ...args], options);
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

/** What `npm pack` makes, with the addon in it. */
export function packInto(folder: string): Packed {
  run('scripts/prebuild.mjs', []);
  return JSON.parse(run('scripts/package-contents.mjs', [folder]));
}

export interface Project {
  folder: string;
  /** The installed package. */
  root: string;
  /** Runs a command there, with a cache of its own and the tests' LibTorch; `env` overrides. */
  run(command: string, env?: NodeJS.ProcessEnv): { status: number | null; stdout: string; stderr: string };
}

/** A project with the tarball installed. */
export function installed(t: TestContext, tarball: string): Project {
  const folder = temporaryFolder(t);
  const modules = join(folder, 'node_modules');
  const root = join(modules, 'blip-retrieval');
  mkdirSync(root, { recursive: true });
  mkdirSync(join(modules, '.bin'));
  spawnSync('tar', ['xzf', tarball, '-C', root, '--strip-components=1']);
  for (const name of readdirSync(join(projectRoot, 'node_modules')))
    if (!name.startsWith('.')) symlinkSync(join(projectRoot, 'node_modules', name), join(modules, name));
  chmodSync(join(root, 'dist/cli.js'), 0o755); // as npm does for programs
  symlinkSync('../blip-retrieval/dist/cli.js', join(modules, '.bin/blip-retrieval'));
  return {
    folder,
    root,
    run(command, env = {}) {
      const own = { BLIP_CACHE: join(folder, 'cache'), LIBTORCH: recordedLibtorch(), ...env };
      const options = { cwd: folder, env: { ...process.env, ...own }, encoding: 'utf8' } as const;
      const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], options);
      return { status, stdout, stderr };
    },
  };
}
