// Runs dist/cli.js as a user does, and collects what it prints and how it ends.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { projectRoot } from './fixtures.js';

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export const cliPath = join(projectRoot, 'dist', 'cli.js');

/** Runs the command line with `args`; RANK and its kin of the surrounding shell are not passed on. */
export function runCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = projectRoot): Promise<CliResult> {
  const { RANK: _rank, WORLD_SIZE: _world, SLURM_PROCID: _slurm, ...surrounding } = process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cliPath, ...args], {
      cwd,
      env: { ...surrounding, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
