// Where the Python in use keeps its torch, asked without importing it, and remembered while nothing has changed.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, renameSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { readJson } from '../disk/json-file.js';
import { isRecord } from '../errors.js';
import { lastLine } from '../logging/text.js';
import { cacheFolder, madeCacheFolder } from './cache.js';

/** A Python interpreter's answer; `torch` is the folder of its torch package. */
export interface PythonTorch {
  interpreter: string;
  version: string;
  torch: string | undefined;
}

interface Remembered {
  version: string;
  torch: string | null;
  /** Modification times of every place Python looks for packages in: an install or removal changes one of them. */
  folders: Record<string, number>;
}

// Checked by hand, as the record of a build is: every program and thread that opens LibTorch comes by here.
function isRemembered(value: unknown): value is Remembered {
  return (
    isNamed(value) && isRecord(value.folders) && Object.values(value.folders).every((time) => typeof time === 'number')
  );
}

function isAnswer(value: unknown): value is { version: string; torch: string | null; path: string[] } {
  return isNamed(value) && Array.isArray(value.path) && value.path.every((folder) => typeof folder === 'string');
}

/** Whether it has the version of a Python, and where its torch is, if it has one. */
function isNamed(value: unknown): value is Record<string, unknown> {
  if (!isRecord(value) || typeof value.version !== 'string') return false;
  return value.torch === null || typeof value.torch === 'string';
}

/** All that is remembered; nothing where the file is absent or damaged. */
function memory(path: string): Record<string, unknown> {
  const parse = (value: unknown) => (isRecord(value) ? value : {});
  return readJson(path, () => ({ parse })) ?? {};
}

// find_spec of a top-level name imports nothing of it. '' is the working folder: a folder named torch there is not Python's torch.
const question = `
import json, sys
if sys.path and sys.path[0] == '': sys.path.pop(0)
from importlib.util import find_spec
spec = find_spec('torch')
places = list(spec.submodule_search_locations or []) if spec is not None and spec.origin else []
print(json.dumps({'version': '.'.join(map(str, sys.version_info[:3])), 'path': sys.path, 'torch': places[0] if places else None}))
`;

const MEMORY = 'python.json';

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Full path of a program on PATH, or undefined. */
export function onPath(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const folders = env.PATH?.split(delimiter).filter(Boolean) ?? [];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** The interpreters in use, first the active virtual environment's, then `python3` and `python` of PATH. */
export function interpreters(env: NodeJS.ProcessEnv = process.env): string[] {
  const active = env.VIRTUAL_ENV ? join(env.VIRTUAL_ENV, 'bin', 'python') : undefined;
  const candidates = [active, onPath('python3', env), onPath('python', env)];
  const found = candidates.filter((path) => path !== undefined).filter(isExecutable);
  // python and python3 of one folder are nearly always one interpreter; asking twice would double the wait.
  return found.filter((path, index) => found.findIndex((other) => dirname(other) === dirname(path)) === index);
}

function keyOf(interpreter: string, env: NodeJS.ProcessEnv): string {
  const names = ['PYTHONPATH', 'PYTHONHOME', 'PYTHONUSERBASE', 'PYENV_VERSION', 'VIRTUAL_ENV', 'CONDA_PREFIX'];
  const variables = names.map((name) => env[name]);
  // A version manager's shim chooses by working folder and by its own file.
  const shim = dirname(interpreter).endsWith('/shims');
  const chosen = shim ? [process.cwd(), modified(join(dirname(dirname(interpreter)), 'version'))] : [];
  return JSON.stringify([interpreter, modified(interpreter), ...variables, ...chosen]);
}

function remember(env: NodeJS.ProcessEnv, key: string, value: Remembered): void {
  try {
    const path = join(madeCacheFolder(env), MEMORY);
    const kept = Object.entries(memory(path)).filter(([other]) => other !== key);
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, `${JSON.stringify(Object.fromEntries([...kept.slice(-15), [key, value]]))}\n`);
    renameSync(temporary, path);
  } catch {
    // A cache that cannot be written costs a tenth of a second at the next start, nothing else.
  }
}

function ask(interpreter: string, env: NodeJS.ProcessEnv): Remembered | undefined {
  const child = spawnSync(interpreter, ['-c', question], { env, encoding: 'utf8', timeout: 10_000 });
  if (child.status !== 0) return undefined;
  try {
    // The last line: a sitecustomize may print others.
    const answer: unknown = JSON.parse(lastLine(child.stdout));
    if (!isAnswer(answer)) return undefined;
    const { version, torch, path } = answer;
    return { version, torch, folders: Object.fromEntries(path.map((folder) => [folder, modified(folder)])) };
  } catch {
    return undefined;
  }
}

/**
 * Asks each Python in use for its torch. Interpreters that do not run are left out. Synchronous: about 50 ms an
 * interpreter the first time, a few file look-ups afterwards.
 */
export function askPythons(env: NodeJS.ProcessEnv = process.env): PythonTorch[] {
  const remembered = memory(join(cacheFolder(env), MEMORY));
  const answers: PythonTorch[] = [];
  for (const interpreter of interpreters(env)) {
    const key = keyOf(interpreter, env);
    const known = remembered[key];
    const old = isRemembered(known) ? known : undefined;
    const isCurrent = old && Object.entries(old.folders).every(([folder, time]) => modified(folder) === time);
    const answer = isCurrent ? old : ask(interpreter, env);
    if (!answer) continue;
    if (answer !== old) remember(env, key, answer);
    answers.push({ interpreter, version: answer.version, torch: answer.torch ?? undefined });
    if (answer.torch !== null) break;
  }
  return answers;
}
