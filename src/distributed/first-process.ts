// As process 1 of a container this program runs itself again as a child: for process 1 the kernel leaves out the default
// action of signals, so that nothing would end an evaluation, in whose native code no listener runs.
import { spawn } from 'node:child_process';
import { exitCodeOf, stopSignals } from './signals.js';

/** Runs the program of this process as a child, and hands signals on. @returns the exit code */
export function runAsChild(): Promise<number> {
  // In a process group of its own: a terminal's Ctrl-C would otherwise reach it twice, and the second ends it at once.
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    detached: true,
  });
  for (const signal of stopSignals()) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : exitCodeOf(signal))));
  });
}
