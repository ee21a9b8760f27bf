// A pseudo-terminal for the command line: what a user sees of it, and keys that a user presses. It is util-linux's `script`.
import { spawn, spawnSync } from 'node:child_process';
import { projectRoot } from './fixtures.js';
import { cliPath } from './run-cli.js';
import { unwrapped } from './unwrapped.js';

/** Why there is none; undefined where there is. */
export const noTerminal =
  spawnSync('script', ['--version']).error === undefined ? undefined : 'needs `script` of util-linux';

export const CTRL_C = '\x03';

export interface PseudoTerminal {
  /** The lines as they are on the screen now: of a line that was cleared and drawn again, the last drawing. */
  lines(): string[];
  /** Resolves once something that matches was written; rejects when the program ends before. */
  shows(pattern: RegExp): Promise<void>;
  /** Presses keys. */
  type(keys: string): void;
  /** The exit code, as a shell gives it. */
  ended: Promise<number>;
}

interface Options {
  columns?: number;
  cwd?: string;
}

/** Starts the command line with `args` in a terminal. */
export function inTerminal(args: readonly string[], { columns = 60, cwd = projectRoot }: Options = {}): PseudoTerminal {
  const words = [process.execPath, cliPath, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  const { NO_COLOR: _color, RANK: _rank, WORLD_SIZE: _world, ...surrounding } = process.env;
  const child = spawn('script', ['-qefc', `stty cols ${columns} rows 50; exec ${words.join(' ')}`, '/dev/null'], {
    cwd,
    env: { ...surrounding, TERM: 'xterm', NO_COLOR: '1', OMP_NUM_THREADS: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let written = '';
  let over = false;
  const looks = new Set<() => void>();
  const look = () => {
    for (const each of looks) each();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    written += unwrapped(text);
    look();
  });
  child.stdin.on('error', () => {}); // keys for a program that has ended
  return {
    lines: () => written.split('\n').map((line) => (line.split('\x1b[2K').at(-1) ?? '').replaceAll('\r', '')),
    shows: (pattern) =>
      new Promise((resolve, reject) => {
        const each = () => {
          if (pattern.test(written)) resolve();
          else if (over) reject(new Error(`the program ended without showing ${pattern}: ${written}`));
          else return;
          looks.delete(each);
        };
        looks.add(each);
        each();
      }),
    type: (keys) => void child.stdin.write(keys),
    ended: new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code) => {
        over = true;
        look();
        resolve(code ?? -1);
      });
    }),
  };
}

/** The lines of a command that has come to its end. */
export async function shownBy(args: readonly string[], options: Options = {}): Promise<string[]> {
  const terminal = inTerminal(args, options);
  await terminal.ended;
  return terminal.lines();
}
