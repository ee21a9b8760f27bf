// Runs a piece of JavaScript in a Node of its own, for what may end the process or measures the whole of it.
import { spawn } from 'node:child_process';
import { projectRoot } from './fixtures.js';

export interface NodeResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** What the pieces of code below have imported: the product's tensors and operators, and the addon itself. */
const PRELUDE = `
  import { native as load } from '#blip/torch/native.js';
  import * as ops from '#blip/torch/ops.js';
  import { keep, liveHandles, noGrad, scope, Tensor } from '#blip/torch/tensor.js';
  const native = load();
`;

/** Runs `code` as a module that may import `#blip/…`; `flags` are Node's. Killed (SIGKILL) after `timeout` ms. */
export function runNode(code: string, flags: readonly string[] = [], timeout = 120_000): Promise<NodeResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', PRELUDE + code], {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
