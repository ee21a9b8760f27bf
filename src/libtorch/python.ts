// Where the Python in use keeps its torch, asked without importing it, and remembered as long as nothing moved.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { isRecord } from '../errors.js';
import { cacheFolder } from './cache.js';

/** A Python interpreter's answer; `torch` is the folder of its torch package. */
export interface PythonTorch {
  interpreter: string;
  version: string;
  torch: string | undefined;
}

interface Remembered {
  answer: { version: string; torch?: string };
  /** Modification times of every place Python looks for packages in: an install or removal changes one of them. */
  folders: Record<string, number>;
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
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** The interpreters in use, first the active virtual environment's, then `python3` and `python` of PATH. */
export function interpreters(env: NodeJS.ProcessEnv = process.env): string[] {
  const active = env.VIRTUAL_ENV ? join(env.VIRTUAL_ENV, 'bin', 'python') : undefined;
  const candidates = [
    active && isExecutable(active) ? active : undefined,
    onPath('python3', env),
    onPath('python', env),
  ];
  const found = candidates.filter((path) => path !== undefined);
  // python and python3 of one folder are one interpreter nearly always; asking twice would double the wait.
  return found.filter((path, index) => found.findIndex((other) => dirname(other) === dirname(path)) === index);
}

function keyOf(interpreter: string, env: NodeJS.ProcessEnv): string {
  const names = ['PYTHONPATH', 'PYTHONHOME', 'PYTHONUSERBASE', 'PYENV_VERSION', 'VIRTUAL_ENV', 'CONDA_PREFIX'];
  const variables = names.map((name) => env[name] ?? '');
  // A version manager's shim chooses by working folder and by its own file.
  const shim = dirname(interpreter).endsWith('/shims');
  const chosen = shim ? [process.cwd(), modified(join(dirname(dirname(interpreter)), 'version'))] : [];
  return JSON.stringify([interpreter, modified(interpreter), ...variables, ...chosen]);
}

function asRemembered(value: unknown): Remembered | undefined {
  if (!isRecord(value) || !isRecord(value.answer) || !isRecord(value.folders)) return undefined;
  const { version, torch } = value.answer;
  if (typeof version !== 'string' || (torch !== undefined && typeof torch !== 'string')) return undefined;
  const folders: Record<string, number> = {};
  for (const [folder, time] of Object.entries(value.folders)) {
    if (typeof time !== 'number') return undefined;
    folders[folder] = time;
  }
  return { answer: torch === undefined ? { version } : { version, torch }, folders };
}

function readMemory(path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isRecord(value) ? value : {};
  } catch {
    return {};
  }
}

function remember(path: string, key: string, value: Remembered): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    const kept = Object.entries(readMemory(path)).filter(([other]) => other !== key);
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
    const line: unknown = JSON.parse(child.stdout.trim().split('\n').at(-1) ?? '');
    if (!isRecord(line) || typeof line.version !== 'string' || !Array.isArray(line.path)) return undefined;
    const folders = line.path.filter((place) => typeof place === 'string');
    const answer =
      typeof line.torch === 'string' ? { version: line.version, torch: line.torch } : { version: line.version };
    return { answer, folders: Object.fromEntries(folders.map((folder) => [folder, modified(folder)])) };
  } catch {
    return undefined;
  }
}

/**
 * Asks each Python in use for its torch. Interpreters that do not run are left out. Synchronous: about 50 ms an
 * interpreter the first time, a few file look-ups afterwards.
 */
export function askPythons(env: NodeJS.ProcessEnv = process.env): PythonTorch[] {
  const memory = join(cacheFolder(env), 'python.json');
  const remembered = readMemory(memory);
  const answers: PythonTorch[] = [];
  for (const interpreter of interpreters(env)) {
    const key = keyOf(interpreter, env);
    const old = asRemembered(remembered[key]);
    const current = old && Object.entries(old.folders).every(([folder, time]) => modified(folder) === time);
    const result = current ? old : ask(interpreter, env);
    if (!result) continue;
    if (!current) remember(memory, key, result);
    answers.push({ interpreter, version: result.answer.version, torch: result.answer.torch });
    if (result.answer.torch !== undefined) break;
  }
  return answers;
}
