// Runs the parts of the first run in their order, each with its own time limit, and goes on after a failure.
// In a checkout it builds first what is not up to date; the packed folder has all.
// Usage: node run.mjs [--part NAME…] [--limit SECONDS] [--out FOLDER] [--small] [--list]
// Leaves three files in OUT: summary.txt (at most 30 lines, also printed), results.json, log.txt. Ends with 1 where a part failed.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Context, PartEnd, readText, root, telling } from './context.mjs';
import { parts } from './parts.mjs';
import { summary } from './report.mjs';

/** A rehearsal runs on a processor. */
const REHEARSAL = 6;
/** Under which no part is begun. */
const LEAST_SECONDS = 8;
const LOG_END = 25;

function options() {
  const known = {
    part: { type: 'string', multiple: true },
    limit: { type: 'string', default: '570' },
    out: { type: 'string' },
  };
  const flags = { small: { type: 'boolean' }, list: { type: 'boolean' } };
  try {
    const { values, positionals } = parseArgs({ options: { ...known, ...flags }, allowPositionals: true });
    const names = [...(values.part ?? []), ...positionals]; // --part a b c
    const unknown = names.filter((name) => !parts.some((part) => part.name === name));
    if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(', ')}. --list names them.`);
    if (positionals.length > 0 && values.part === undefined) throw new Error('Write --part before the names of parts.');
    const limit = Number(values.limit);
    if (!(limit > 0)) throw new Error(`--limit takes a number of seconds, not ${values.limit}.`);
    return { ...values, limit, names, out: resolve(values.out ?? process.env.OUT ?? 'output/gpu-first-run') };
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

const { names, limit, out, small = false, list } = options();
if (list) {
  for (const { name, seconds, about } of parts)
    console.log(`${name.padEnd(11)} ${String(seconds).padStart(3)} s  ${about}`);
  process.exit(0);
}
const isPacked = existsSync(join(root, 'commit.txt'));
if (!isPacked) {
  const { bootstrap, ensureTests } = await import('../build-steps.mjs');
  await bootstrap();
  ensureTests();
}
const started = performance.now();
const context = new Context({ out, seconds: limit, small });
const report = {
  machine: 'unknown machine',
  commit: isPacked ? readText(join(root, 'commit.txt')).trim() : 'of this checkout',
  small,
  seconds: 0,
  limit,
  parts: [],
};

function save() {
  report.seconds = (performance.now() - started) / 1000;
  report.machine = context.found.machine ?? report.machine;
  report.found = context.found;
  writeFileSync(join(out, 'summary.txt'), summary(report));
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(report, undefined, 1)}\n`);
}

for (const signal of ['SIGTERM', 'SIGINT'])
  process.on(signal, () => {
    context.abort();
    save();
    process.stdout.write(`\n${readFileSync(join(out, 'summary.txt'), 'utf8')}`);
    context.close();
    process.exit(1);
  });

// What the others need to know is always asked: how many GPUs there are, and whether the program sees their driver.
const wanted = parts.filter(({ name }) => names.length === 0 || name === 'machine' || names.includes(name));
for (const part of wanted) {
  const most = part.seconds * (small ? REHEARSAL : 1);
  const seconds = Math.min(most, context.left);
  const entry = {
    name: part.name,
    status: 'skipped',
    seconds: undefined,
    note: 'no time was left',
    figures: context.figures,
  };
  report.parts.push(entry);
  if (seconds < LEAST_SECONDS) {
    entry.figures = [];
    continue;
  }
  process.stderr.write(`${part.name} (at most ${Math.round(seconds)} s): ${part.about}\n`);
  const begin = performance.now();
  context.start(most);
  try {
    Object.assign(entry, { status: 'ok', note: (await part.run(context)) ?? '' });
  } catch (error) {
    const isKnown = error instanceof PartEnd;
    Object.assign(entry, {
      status: isKnown ? error.status : 'FAILED',
      note: isKnown ? error.message : `${error.stack}`.split('\n').slice(0, 2).join(' '),
    });
  }
  entry.seconds = (performance.now() - begin) / 1000;
  entry.figures = context.figures;
  process.stderr.write(`  ${entry.status} after ${entry.seconds.toFixed(0)} s: ${entry.note}\n`);
  save();
  if (part.needed && entry.status === 'FAILED') {
    process.stdout.write(`Nothing after ${part.name} can work. The end of its log:\n`);
    process.stdout.write(`${telling(readText(context.log)).slice(-LOG_END).join('\n')}\n\n`);
    break;
  }
}
save();
process.stdout.write(readFileSync(join(out, 'summary.txt'), 'utf8'));
context.close();
process.exit(report.parts.some(({ status }) => status === 'FAILED') ? 1 : 0);
