// Tests of tests: a copy of the built program with a fault planted in it, in which a test must fail.
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { temporaryFolder } from './files.js';
import { fixture, projectRoot } from './fixtures.js';
import { type NodeResult, runNodeWith } from './run-node.js';

/** One text of one compiled file, and what stands there instead. */
export interface Plant {
  /** Below the project's root, in dist or .build/test: `dist/model/losses.js`. */
  file: string;
  /** Occurs exactly once in the file. */
  from: string;
  to: string;
}

const COPIED = ['dist', '.build/test', 'package.json'];
// The copy only reads these.
const LINKED = ['node_modules', 'build', 'configs', 'test', 'bench', 'examples', 'native', 'scripts'];

/**
 * A copy of the built program and its compiled tests with `plants` in it; removed after the test `t`, or after all tests
 * of the file. The sources are not compiled again.
 * @returns its folder
 * @throws Error when a plant no longer fits: its text is not there, or is there twice
 */
export function plant(plants: readonly Plant[], t?: { after(remove: () => void): void }): string {
  const folder = temporaryFolder(t);
  for (const name of COPIED) cpSync(join(projectRoot, name), join(folder, name), { recursive: true });
  for (const name of LINKED) symlinkSync(join(projectRoot, name), join(folder, name));
  for (const { file, from, to } of plants) {
    // Through a link, the original would be changed.
    if (!/^(dist|\.build\/test)\//.test(normalize(file))) throw new Error(`Cannot plant in ${file}: it is not copied.`);
    const path = join(folder, file);
    const parts = readFileSync(path, 'utf8').split(from);
    if (parts.length !== 2)
      throw new Error(`The plant no longer fits: ${file} has ${parts.length - 1} times, instead of once: ${from}`);
    writeFileSync(path, parts.join(to));
  }
  return folder;
}

/**
 * Runs a compiled test or program of the copy in `folder`: `model/training.test` is `.build/test/model/training.test.js`.
 * A test's output is TAP, and its exit status is 1 when a test in it fails. Killed (SIGKILL) after `timeout` ms. With
 * `only`, the tests whose names match this regular expression.
 */
export function runThere(
  folder: string,
  program: string,
  env: NodeJS.ProcessEnv = {},
  { args = [], timeout = 300_000, only }: { args?: readonly string[]; timeout?: number; only?: string } = {},
): Promise<NodeResult> {
  const file = join(folder, '.build/test', `${program}.js`);
  const flags = ['--test-reporter=tap', ...(only === undefined ? [] : [`--test-name-pattern=${only}`])];
  return runNodeWith([...flags, file, ...args], { cwd: folder, env: environment(env), timeout });
}

/** Runs a few lines of JavaScript as a module of the copy in `folder`; they may import `#blip/…`. */
export function runCodeThere(folder: string, code: string, env: NodeJS.ProcessEnv = {}): Promise<NodeResult> {
  return runNodeWith(['--input-type=module', '-e', code], { cwd: folder, env: environment(env), timeout: 300_000 });
}

function environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _, ...own } = process.env; // with it a test would report to this one's runner, in binary
  const large = fixture('law.json'); // the copy does not lie beside the fixtures
  const fixtures = large === undefined ? {} : { BLIP_FIXTURES: join(large, '..') };
  return { OMP_NUM_THREADS: '1', ...own, ...fixtures, ...env };
}
