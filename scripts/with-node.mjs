// Runs a command with another Node than this one first in PATH, as somebody who has installed that one would.
// Usage: node scripts/with-node.mjs 22|24 COMMAND [ARGUMENT]…      for example: node scripts/with-node.mjs 24 npm test
// The binary comes from npm (node-linux-…, what the package `node` would fetch), once, into .build/node-….
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from './build-steps.mjs';

// Pinned, so that a run of today can be repeated.
// 12 and 18 are too old for this program, which has to say so.
const versions = { 12: '12.22.12', 18: '18.20.8', 22: '22.23.3', 24: '24.21.0' };

const [major, command, ...args] = process.argv.slice(2);
const version = versions[major];
if (version === undefined || command === undefined) {
  console.error(`Usage: node scripts/with-node.mjs ${Object.keys(versions).join('|')} COMMAND [ARGUMENT]…`);
  process.exit(2);
}
const name = `node-linux-${process.arch}`;
const folder = join(root, '.build', `node-${version}`);
const bin = join(folder, 'node_modules', name, 'bin');
if (!existsSync(join(bin, 'node'))) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n'); // else npm would install into the project's folder
  const flags = ['--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', ['install', ...flags, `${name}@${version}`], { cwd: folder, stdio: 'inherit' });
  if (status !== 0) {
    console.error(`Node ${version} could not be fetched: see npm's lines above.`);
    process.exit(1);
  }
}
const { status, signal, error } = spawnSync(command, args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
});
if (error || signal) console.error(`${command} ended early: ${error?.message ?? signal}`);
process.exit(status ?? 1);
