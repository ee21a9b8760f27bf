// Thousands of damaged checkpoints, and pickles built to use up memory. Each opens or is refused
// with a sentence; none crashes, hangs or takes much memory. BLIP_MUTATIONS=20000 for the long form.
// Covers torch/checkpoint/read, inspect.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeSafetensors } from '#blip/torch/safetensors.js';
import { checkpointOf, writeFile, zipOf } from '../helpers/checkpoint-files.js';
import { temporaryFolder } from '../helpers/files.js';
import { absent, fixture, projectRoot } from '../helpers/fixtures.js';
import type { Report, Task } from './checkpoint-mutations-worker.js';
import { bombs } from './pickle-bombs.js';

const MiB = 1024 * 1024;
const ALLOWED = 64 * MiB;
/** A child that is silent for so long hangs: twenty mutations take a few milliseconds. */
const SILENCE_MS = 60_000;
const BATCH = 500;
const worker = join(projectRoot, '.build/test/faults/checkpoint-mutations-worker.js');

/** Runs a task in a child process; fails when the child crashes or is silent. */
function inChild(task: Task): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = fork(worker, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let latest: Report | undefined;
    let stderr = '';
    const where = () => `mutation ${latest?.at ?? task.first} of seed ${task.seed}`;
    const hang = () => {
      child.kill('SIGKILL');
      reject(new Error(`${where()} or one of the 20 after it hangs`));
    };
    let watchdog = setTimeout(hang, SILENCE_MS);
    child.on('message', (report: Report) => {
      latest = report;
      clearTimeout(watchdog);
      watchdog = setTimeout(hang, SILENCE_MS);
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

/** Good files full of objects that are kept as names only. */
const objects = ['2', '4', 'legacy'].map((name) =>
  join(projectRoot, `test/golden/field/checkpoints/objects_${name}.pth`),
);

/** The good files of the zoo, which are mutated. */
function zooFiles(zoo: string): string[] {
  const rows: { file: string; expect: string }[] = JSON.parse(readFileSync(join(zoo, 'expected.json'), 'utf8'));
  return rows.filter(({ expect }) => expect === 'load').map(({ file }) => join(zoo, file));
}

async function safetensorsFile(folder: string): Promise<string> {
  const path = join(folder, 'good.safetensors');
  const tensor = { dtype: 'float32', shape: [2, 3], data: new Uint8Array(24) } as const;
  const names = Array.from({ length: 8 }, (_, i) => `vision_model.encoder.layers.${i}.layer_norm1.weight`);
  await writeSafetensors(path, new Map(names.map((name) => [name, tensor])), { format: 'pt' });
  return path;
}

test('mutations of the zoo, of files full of objects and of safetensors open or are refused, within bounds of memory', async (t) => {
  const zoo = fixture('pth_zoo');
  if (zoo === undefined) return t.skip(absent('pth_zoo'));
  const total = Number(process.env.BLIP_MUTATIONS ?? 2000);
  const seed = Number(process.env.BLIP_MUTATIONS_SEED ?? 1);
  assert.ok(Number.isSafeInteger(total) && total > 0, 'BLIP_MUTATIONS is not a number');
  const folder = temporaryFolder(t);
  const files = [...zooFiles(zoo), ...objects, await safetensorsFile(folder)];
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
  // Both outcomes must be common, or the mutations do not reach the code that they are meant to test.
  assert.ok(opened > total / 50 && refused > total / 4, `${opened} opened, ${refused} refused`);
  assert.ok(growth <= ALLOWED, `memory grew by ${growth} bytes beyond the file's size`);
});

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
  const tensors = Array.from({ length: 45_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`);
  const header = Buffer.from(`{"all":{"dtype":"U8","shape":[31457280],"data_offsets":[0,31457280]},${tensors}}`);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await measured(t, 'safetensors header', Buffer.concat([length, header, Buffer.alloc(31_457_280)]), zooFiles(zoo));
});
