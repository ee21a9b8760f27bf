// Signals that ask a run to stop, and those that it must not die of: what a terminal, a shell, Slurm and containers send.
import { readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { basename } from 'node:path';

export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2';

/** In this variable a process tells those that it starts that a hang-up is to be ignored. */
const HANGUP = 'BLIP_HANGUP';

/** The same signal twice within this time counts once: a terminal and npm both send it. native/last_words.cc has it, too. */
export const SAME_SIGNAL_MS = 500;

const ignore = () => {};

/** The exit code that a shell gives a program that `signal` ended. */
export function exitCodeOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** The signals at which a run stops: not SIGHUP under nohup. Slurm warns by SIGUSR1 or SIGUSR2 before its time is up. */
export function stopSignals(env: NodeJS.ProcessEnv = process.env): StopSignal[] {
  const hangup: StopSignal[] = env[HANGUP] === 'ignored' ? [] : ['SIGHUP'];
  return ['SIGINT', 'SIGTERM', ...hangup, 'SIGUSR1', 'SIGUSR2'];
}

/** Under nohup, lets this process and all that it starts outlive the terminal. To be called once, at the start. */
export function obeyNohup(): void {
  if (process.env[HANGUP] !== 'ignored' && !startedByNohup()) return;
  process.env[HANGUP] = 'ignored';
  process.on('SIGHUP', ignore);
}

/**
 * Whether this process was started to outlive its terminal. nohup has the kernel ignore SIGHUP, but Node takes that back
 * before any JavaScript runs, so it is known by what else it leaves:
 *
 * 1. the shell's `_`, the program that it started, is nohup;
 * 2. the process that started this one ignores SIGHUP itself (`nohup sh run.sh`, `trap '' HUP`), or is `sh -c 'nohup …'`;
 * 3. standard input, once a terminal, is /dev/null opened for writing only; standard output is nohup.out.
 */
function startedByNohup(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true; // 1
  const parent = processStatus(process.ppid);
  if (parent !== undefined && ignores(parent, 'SIGHUP')) return true; // 2
  if (/\bnohup\0?\s/.test(contents(`/proc/${process.ppid}/cmdline`).replaceAll('\0', ' '))) return true;
  const input = link('/proc/self/fd/0') === '/dev/null';
  if (input && /^flags:\s*\d*1$/m.test(contents('/proc/self/fdinfo/0'))) return true; // 3
  return basename(link('/proc/self/fd/1')) === 'nohup.out';
}

/** Whether the process of this /proc/PID/status ignores a signal. */
function ignores(status: string, signal: NodeJS.Signals): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n;
}

function processStatus(pid: number): string | undefined {
  return contents(`/proc/${pid}/status`) || undefined;
}

function contents(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
