// What the parts of the first run share: child processes with a time limit, their logs, figures beside their expectation.
import { spawn } from 'node:child_process';
import { appendFileSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout, or the unpacked archive. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const helper = (name) => join(root, 'scripts/gpu-first-run', name);

/** What log.txt keeps of a command: its start and its end. */
const [HEAD, TAIL, WIDTH] = [40, 160, 400];
/** Between SIGTERM and SIGKILL at the end of a command's time. */
const GRACE_MS = 4000;

/** What ends a part before its end; `status` is what the summary says of it. */
export class PartEnd extends Error {
  constructor(status, note) {
    super(note);
    this.status = status;
  }
}
export const failed = (note) => new PartEnd('FAILED', note);
export const skipped = (note) => new PartEnd('skipped', note);

/** Lines of `text` without stack frames and empty ones. */
export function telling(text) {
  return text.split('\n').filter((line) => line.trim() !== '' && !/^\s+at /.test(line));
}

/** Start and end of a long text, long lines cut. */
function shortened(text) {
  const lines = text.trimEnd().split('\n');
  const kept = lines.length <= HEAD + TAIL ? lines : [...lines.slice(0, HEAD), '[…]', ...lines.slice(-TAIL)];
  return kept.map((line) => line.slice(0, WIDTH)).join('\n');
}

export class Context {
  /** Figures of the part that is running: see `figure`. */
  figures = [];
  /** Environment of all commands from here on. */
  env = { ...process.env };
  /** What later parts may read of earlier ones. */
  found = { gpus: 0 };
  #running;

  constructor({ out, seconds, small }) {
    this.out = out;
    this.small = small;
    this.deadline = performance.now() + seconds * 1000;
    this.partEnd = this.deadline;
    this.folder = mkdtempSync(join(tmpdir(), 'blip-first-run-'));
    this.log = join(out, 'log.txt');
    mkdirSync(out, { recursive: true });
    rmSync(this.log, { force: true });
    const fixtures = join(root, 'fixtures');
    if (existsSync(fixtures)) this.env.BLIP_FIXTURES ??= fixtures;
  }

  /** Seconds that are left of all. */
  get left() {
    return (this.deadline - performance.now()) / 1000;
  }

  /** Seconds that are left of the part. */
  get partLeft() {
    return (this.partEnd - performance.now()) / 1000;
  }

  start(seconds) {
    this.figures = [];
    this.partEnd = Math.min(this.deadline, performance.now() + seconds * 1000);
  }

  /**
   * Adds a figure. `expected` is words for the reader, `ok` whether it is met (undefined without an expectation); `key`: the
   * summary shows it even if it is met.
   */
  figure(name, value, { unit = '', expected = '', ok, key = false } = {}) {
    this.figures.push({ name, value, unit, expected, ok, key });
  }

  path(...names) {
    const path = join(this.folder, ...names);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /**
   * Runs a command to its end, or kills it with all that it started when the part's time is up.
   * @param options.watch is called with the child's process id and what it has printed so far, four times a second
   * @returns { code, signal, timedOut, text }, text being both streams in order
   */
  async run(title, command, args, { env = {}, watch } = {}) {
    const file = this.path('logs', `${title.replace(/\W+/g, '-')}.txt`);
    const stream = createWriteStream(file);
    const started = performance.now();
    const options = { cwd: root, env: { ...this.env, ...env }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] };
    const child = spawn(command, args, options);
    this.#running = child.pid;
    let text = '';
    for (const pipe of [child.stdout, child.stderr])
      pipe.setEncoding('utf8').on('data', (chunk) => {
        stream.write(chunk);
        text = (text + chunk).slice(-2_000_000);
      });
    let timedOut = false;
    let kill;
    const limit = setTimeout(
      () => {
        timedOut = true;
        signalGroup(child.pid, 'SIGTERM');
        kill = setTimeout(() => signalGroup(child.pid, 'SIGKILL'), GRACE_MS);
      },
      Math.max(1000, this.partLeft * 1000),
    );
    const timer = watch && setInterval(() => watch(child.pid, text), 250);
    const [code, signal] = await new Promise((done) => {
      child.on('error', (error) => {
        text += `${error.message}\n`;
        done([127, null]);
      });
      // Not 'close': a process that it left behind may hold its pipes open.
      child.on('exit', (exitCode, exitSignal) => setTimeout(() => done([exitCode, exitSignal]), 100));
    });
    clearTimeout(limit);
    clearTimeout(kill);
    clearInterval(timer);
    if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    this.#running = undefined;
    stream.end();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const end = timedOut ? 'its time was up' : `exit ${signal ?? code}`;
    const shown = [command, ...args].join(' ').replaceAll(root, '.').replaceAll(this.folder, '$RUN').slice(0, WIDTH);
    appendFileSync(this.log, `\n==== ${title}: ${end}, ${seconds} s\n$ ${shown}\n${shortened(text)}\n`);
    return { code, signal, timedOut, text };
  }

  /** The same for a Node program of this checkout. */
  node(title, args, options) {
    return this.run(title, process.execPath, args, options);
  }

  /** Kills what is running. */
  abort() {
    if (this.#running !== undefined) signalGroup(this.#running, 'SIGKILL');
  }

  close() {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

/** The line that tells most, for a failure's note: that of an error, else the last one. */
export function lastLine({ text, timedOut, code, signal }) {
  const how = timedOut ? 'its time was up' : `exit ${signal ?? code}`;
  const lines = telling(text);
  const line = lines.findLast((one) => /^(\w*Error|error): /.test(one)) ?? lines.at(-1) ?? 'nothing was printed';
  return `${how}: ${line.slice(0, 160)}`;
}

/** Throws unless the command ended with 0. */
export function demand(result, what) {
  if (result.timedOut || result.code !== 0) throw failed(`${what}: ${lastLine(result)}`);
  return result;
}

/** JSON objects among the lines of a text. */
export function jsonLines(text) {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    });
}

export const readText = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** What failed, of the TAP of `node --test`: names of tests, and signals that ended a file. */
export function failedTests(tap) {
  const names = [...tap.matchAll(/^\s*not ok \d+ - (.+)$/gm)].map(([, name]) => name);
  const signals = [...tap.matchAll(/^\s*signal: '?(SIG\w+)/gm)].map(
    ([, signal]) => `a test file was ended by ${signal}`,
  );
  return [...names.filter((name) => !name.endsWith('.js')), ...signals];
}
