// The main command under trial: its ranks by number, and whatever of it is still there, however it was started.
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Running, start } from './ranks.js';
import { cliNodeOptions, cliPath } from './run-cli.js';

/** What the contract allows from a failure to the end of the whole command. */
export const END_WITHIN_SECONDS = 35;

export interface Command extends Running {
  /** Waits until rank `rank` is there; its process id. */
  rank(rank: number): Promise<number>;
  /** The processes of this command that are there. */
  processes(): number[];
  /** Waits until none is there. When some are left after `seconds`, kills them and throws. */
  gone(seconds?: number): Promise<void>;
}

/** The environment of a process, empty for one that has ended or belongs to another user. */
function environment(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Starts the command line with `args`, by `before` where something is to start it (`sh -c …`, `ip netns exec …`). */
export function startCommand(args: readonly string[], before: readonly string[] = []): Command {
  const [program = '', ...rest] = [...before, process.execPath, cliPath, ...args];
  const mark = `BLIP_TRIAL=${randomUUID()}`;
  const running = start(program, rest, { BLIP_TRIAL: mark.split('=')[1], NODE_OPTIONS: cliNodeOptions });
  const find = (wanted: (variables: string[]) => boolean) =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => {
        const variables = environment(name);
        return variables.includes(mark) && wanted(variables);
      })
      .map(Number);
  const processes = () => find(() => true);
  return {
    ...running,
    processes,
    async rank(rank) {
      for (;;) {
        const [pid] = find((variables) => variables.includes(`RANK=${rank}`));
        if (pid !== undefined) return pid;
        if (processes().length === 0) throw new Error(`the command ended before it had a rank ${rank}`);
        await sleep(10);
      }
    },
    async gone(seconds = END_WITHIN_SECONDS) {
      const until = performance.now() + seconds * 1000;
      while (processes().length > 0) {
        if (performance.now() > until) {
          const left = processes();
          for (const pid of left) process.kill(pid, 'SIGKILL');
          throw new Error(`processes ${left} are left after ${seconds} s`);
        }
        await sleep(10);
      }
    },
  };
}
