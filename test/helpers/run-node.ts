// Runs Node in a process of its own, for what may end the process or is measured in it as a whole.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { projectRoot } from './fixtures.js';

export interface NodeResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs `node …args` and collects what it prints and how it ends. Killed (SIGKILL) after `timeout` ms, if given. */
export function runNodeWith(
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; timeout?: number } = {},
): Promise<NodeResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      ...options,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The imports of every piece of code that runNode runs: the product's tensors and operators, and the addon itself. */
const PRELUDE = `
  import { native as load } from '#blip/torch/native.js';
  import * as ops from '#blip/torch/ops.js';
  import { keep, liveHandles, noGrad, scope, Tensor } from '#blip/torch/tensor.js';
  const native = load();
`;

/** Runs `code`, a few lines of JavaScript, as a module after PRELUDE; it may import `#blip/…`. `flags` are Node's. */
export function runNode(code: string, flags: readonly string[] = [], timeout = 120_000): Promise<NodeResult> {
  return runNodeWith([...flags, '--input-type=module', '-e', PRELUDE + code], { timeout });
}

/** Runs `test/PROGRAM.ts`, compiled. */
export function runProgram(program: string, args: readonly string[] = [], timeout = 120_000): Promise<NodeResult> {
  return runNodeWith([join(projectRoot, '.build/test', `${program}.js`), ...args], { timeout });
}
