// Runs dist/cli.js as a user does.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { projectRoot } from './fixtures.js';
import { type NodeResult, runNodeWith } from './run-node.js';

export const cliPath = join(projectRoot, 'dist', 'cli.js');

/** NODE_OPTIONS of the command line in tests: helpers/one-loader-thread. */
export const cliNodeOptions = [
  process.env.NODE_OPTIONS ?? '',
  `--import=${pathToFileURL(join(projectRoot, '.build/test/helpers/one-loader-thread.js')).href}`,
].join(' ');

/** Runs the command line with `args`, without RANK and its kin of the surrounding shell. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = projectRoot): Promise<NodeResult> {
  const { RANK: _rank, WORLD_SIZE: _world, SLURM_PROCID: _slurm, ...surrounding } = process.env;
  return runNodeWith([cliPath, ...args], { cwd, env: { ...surrounding, NODE_OPTIONS: cliNodeOptions, ...env } });
}
