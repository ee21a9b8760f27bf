// Runs a program to its end and gathers what it prints.
import { type SpawnOptions, spawn } from 'node:child_process';

export interface Outcome {
  /** null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Both, in the order in which they were printed. */
  log: string;
}

/** Rejects where the program cannot be started, or `options.signal` ends it. Its input is empty. */
export function runProgram(program: string, args: string[], options: SpawnOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const printed = { stdout: '', stderr: '', log: '' };
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        printed[name] += text;
        printed.log += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...printed }));
  });
}
