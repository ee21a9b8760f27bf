// Thousands of damaged checkpoints: each opens or is refused with a sentence; none crashes, hangs or takes memory.
// BLIP_MUTATIONS=20000 for the long form.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkpointOf, opcodes, temporaryFolder, uint32, word, writeFile, zipOf } from '../helpers/checkpoint-files.js';
import { absent, fixture, projectRoot } from '../helpers/fixtures.js';
import type { Report, Task } from './checkpoint-mutations-worker.js';

const MiB = 1024 * 1024;
const ALLOWED = 64 * MiB;
/** A child that says nothing for so long hangs: twenty mutations take a few milliseconds. */
const SILENCE_MS = 60_000;
const BATCH = 500;
const worker = join(projectRoot, '.build/test/faults/checkpoint-mutations-worker.js');

/** Runs a task in a child of its own; fails when it crashes or goes silent. */
function inChild(task: Task): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = fork(worker, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let latest: Report | undefined;
    let stderr = '';
    const where = () => `mutation ${latest?.at ?? task.first} of seed ${task.seed}`;
    const bark = () => {
      child.kill('SIGKILL');
      reject(new Error(`${where()} or one of the 20 after it hangs`));
    };
    let watchdog = setTimeout(bark, SILENCE_MS);
    child.on('message', (report: Report) => {
      latest = report;
      clearTimeout(watchdog);
      watchdog = setTimeout(bark, SILENCE_MS);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(watchdog);
      if (code === 0 && latest !== undefined) resolve(latest);
      else reject(new Error(`the child died at ${where()} (${code ?? signal}): ${stderr.slice(-2000)}`));
    });
    child.send(task);
  });
}

/** The files of the zoo, which are the material. */
function zooFiles(zoo: string): string[] {
  const rows: { file: string; expect: string }[] = JSON.parse(readFileSync(join(zoo, 'expected.json'), 'utf8'));
  return rows.filter(({ expect }) => expect === 'load').map(({ file }) => join(zoo, file));
}

test('mutations of the zoo open or are refused, within bounds of memory', async (t) => {
  const zoo = fixture('pth_zoo');
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const total = Number(process.env.BLIP_MUTATIONS ?? 2000);
  const seed = Number(process.env.BLIP_MUTATIONS_SEED ?? 1);
  assert.ok(Number.isSafeInteger(total) && total > 0, 'BLIP_MUTATIONS is no number');
  const files = zooFiles(zoo);
  const folder = temporaryFolder(t);
  let opened = 0;
  let refused = 0;
  let growth = 0;
  for (let first = 0; first < total; first += BATCH) {
    const report = await inChild({ files, folder, seed, first, count: Math.min(BATCH, total - first) });
    assert.equal(report.failure, undefined, `mutation ${report.at} of seed ${seed}: ${report.failure}`);
    opened += report.opened;
    refused += report.refused;
    growth = Math.max(growth, report.peak - report.baseline - report.largest);
  }
  t.diagnostic(`${opened} opened, ${refused} refused, memory grew by at most ${(growth / MiB).toFixed(1)} MiB`);
  assert.equal(opened + refused, total);
  // Both outcomes must be common, or the mutations do not reach what they are meant to test.
  assert.ok(opened > total / 50 && refused > total / 4, `${opened} opened, ${refused} refused`);
  assert.ok(growth <= ALLOWED, `memory grew by ${growth} bytes beyond the file's size`);
});

/** Pickles of some megabytes that ask for as much memory as they can. */
const bombs: Record<string, () => Buffer> = {
  lists: () => opcodes('\x80\x02', ']'.repeat(4_000_000), '.'),
  dicts: () => opcodes('\x80\x02', '}'.repeat(4_000_000), '.'),
  tuples: () => opcodes('\x80\x02N', '\x85'.repeat(4_000_000), '.'),
  marks: () => opcodes('\x80\x02', '('.repeat(8_000_000), '.'),
  nones: () => opcodes('\x80\x02](', 'N'.repeat(8_000_000), 'e.'),
  floats: () => opcodes('\x80\x02](', 'G\x3f\xf1\x23\x45\x67\x89\xab\xcd'.repeat(1_000_000), 'e.'),
  memo: () => opcodes('\x80\x04N', '\x94'.repeat(8_000_000), '.'),
  text: () => opcodes('\x80\x02', word('x'.repeat(6_000_000)), '.'),
  'wide text': () => opcodes('\x80\x02', word('日'.repeat(6_000_000)), '.'),
  words: () => opcodes('\x80\x02](', 'X\x01\x00\x00\x00\xff'.repeat(1_000_000), 'e.'),
  'keys of tuples': () =>
    opcodes('\x80\x02', word('k'.repeat(1_000_000)), 'q\x000}', 'h\x00h\x00\x86Ns'.repeat(10_000), '.'),
  'copies of a list': () =>
    opcodes('\x80\x02](', 'N'.repeat(200_000), 'eq\x000(', 'c__builtin__\nset\nh\x00\x85R'.repeat(10_000), 't.'),
  'copies of a dict': () =>
    opcodes(
      '\x80\x02}(',
      ...Array.from({ length: 50_000 }, (_, i) => opcodes('J', uint32(i), 'N')),
      'uq\x000(',
      'ccollections\nOrderedDict\nh\x00\x85R'.repeat(10_000),
      't.',
    ),
  'copies of bytes': () =>
    opcodes(
      '\x80\x02',
      word('b'.repeat(500_000)),
      'q\x000',
      word('latin1'),
      'q\x010(',
      'c_codecs\nencode\nh\x00h\x01\x86R'.repeat(10_000),
      't.',
    ),
  'shared lists': () =>
    opcodes(
      '\x80\x02K\x01q\x000',
      ...Array.from({ length: 100 }, (_, i) =>
        opcodes('](', `h${String.fromCharCode(i)}`.repeat(10), 'eq', i + 1, '0'),
      ),
      'hd.',
    ),
  'long paths': () =>
    opcodes(
      '\x80\x02Nq\x000',
      ...Array.from({ length: 900 }, () => opcodes('}(', word('p'.repeat(5000)), 'h\x00', 'K\x01h\x00uq\x000')),
      'h\x00.',
    ),
  globals: () => opcodes('\x80\x02(', 'ctorch\nSize\n'.repeat(500_000), 't.'),
  tensors: () =>
    opcodes(
      '\x80\x02](ctorch._utils\n_rebuild_tensor_v2\nq\x00((',
      word('storage'),
      'ctorch\nByteStorage\n',
      word('0'),
      word('cpu'),
      'K\x04tQq\x01K\x00)))Ntq\x02',
      'h\x00h\x02R'.repeat(500_000),
      'e.',
    ),
};

async function measured(t: TestContext, name: string, bytes: Buffer, warmUp: string[]): Promise<void> {
  const folder = temporaryFolder(t);
  const path = writeFile(folder, 'bomb.pth', bytes);
  const report = await inChild({ files: [...warmUp, path], folder, seed: 0, first: 0, count: 0 });
  assert.equal(report.failure, undefined, report.failure);
  const growth = report.peak - report.baseline;
  const size = statSync(path).size;
  t.diagnostic(
    `${name}: ${(size / MiB).toFixed(1)} MiB ${report.opened === 1 ? 'opened' : 'refused'}, memory grew by ${(growth / MiB).toFixed(1)} MiB`,
  );
  assert.ok(growth <= size + ALLOWED, `${name}: memory grew by ${growth} bytes over a file of ${size}`);
}

test('files built to use up memory stay within their size and 64 MiB', async (t) => {
  const zoo = fixture('pth_zoo');
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  for (const [name, make] of Object.entries(bombs)) {
    await measured(t, name, checkpointOf(make(), { 0: Buffer.alloc(4) }), zooFiles(zoo));
  }
  const entries = Array.from({ length: 65_535 }, (_, i) => ({ name: `a/${i}`, bytes: Buffer.alloc(0) }));
  await measured(t, 'zip entries', zipOf(entries), zooFiles(zoo));
});
