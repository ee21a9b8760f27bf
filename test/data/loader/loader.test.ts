// The image loader: order, slots, bad images, a worker that dies, and programs that end without closing it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { decodeRgb } from '#blip/data/images/decode.js';
import { evaluationTransform } from '#blip/data/images/evaluation-transform.js';
import { MEAN_PIXEL } from '#blip/data/images/normalization.js';
import { ImageLoader, type ImageLoaderOptions, type LoaderBatch } from '#blip/data/loader/loader.js';
import { UserError } from '#blip/errors.js';
import { noise, png, temporaryFolder } from '../../helpers/files.js';
import { projectRoot } from '../../helpers/fixtures.js';

const { folder, remove } = temporaryFolder();
after(remove);

const SIZE = 8;
const BYTES = SIZE * SIZE * 3;

const paths = Array.from({ length: 11 }, (_, i) => {
  const path = join(folder, `image ${i} é.png`);
  const [width, height] = [5 + i, 20 - i];
  writeFileSync(path, png({ width, height, colourType: 2, samples: noise(width * height * 3, i) }));
  return path;
});
const broken = join(folder, 'broken.png');
writeFileSync(broken, 'no image');

async function transformed(path: string): Promise<Uint8Array> {
  const pixels = new Uint8Array(BYTES);
  evaluationTransform(await decodeRgb(path), SIZE, pixels);
  return pixels;
}

function drain(options: Partial<ImageLoaderOptions>): { starts: number[]; images: Uint8Array[]; badCount: number } {
  const loader = new ImageLoader({ paths, size: SIZE, batchSize: 4, ...options });
  const starts: number[] = [];
  const images: Uint8Array[] = [];
  try {
    for (let batch = loader.next(); batch !== null; batch = loader.next()) {
      starts.push(batch.start);
      assert.equal(batch.data.length, batch.count * BYTES);
      for (let i = 0; i < batch.count; i++)
        images.push(Uint8Array.from(batch.data.subarray(i * BYTES, (i + 1) * BYTES)));
      batch.release();
    }
    return { starts, images, badCount: loader.badCount };
  } finally {
    loader.close();
  }
}

for (const options of [{ workers: 1, slots: 1 }, { workers: 3, slots: 2 }, { workers: 2, slots: 9 }, {}]) {
  test(`gives every image in order with ${JSON.stringify(options)}`, async () => {
    const { starts, images } = drain(options);
    assert.deepEqual(starts, [0, 4, 8]);
    assert.deepEqual(images, await Promise.all(paths.map(transformed)));
  });
}

test('a path may come again, and a batch may be larger than the data', async () => {
  const [first = ''] = paths;
  const { starts, images } = drain({ paths: [first, first, first], batchSize: 64 });
  assert.deepEqual(starts, [0]);
  assert.deepEqual(images, Array(3).fill(await transformed(first)));
});

test('no images are no batches', () => {
  assert.deepEqual(drain({ paths: [] }), { starts: [], images: [], badCount: 0 });
});

test('wrong sizes are refused', () => {
  for (const options of [{ size: 0 }, { batchSize: 1.5 }, { workers: 0 }, { slots: -1 }]) {
    assert.throws(() => drain(options), RangeError);
  }
});

test('a batch in hand is not overwritten before its release', async () => {
  const loader = new ImageLoader({ paths, size: SIZE, batchSize: 1, workers: 2, slots: 2 });
  try {
    const held = loader.next();
    assert.ok(held !== null);
    const copy = Uint8Array.from(held.data);
    const second = loader.next();
    assert.ok(second !== null);
    assert.throws(() => loader.next(), /every slot is held/);
    second.release();
    assert.throws(() => loader.next(), /every slot is held/);
    assert.deepEqual(Uint8Array.from(held.data), copy);
    held.release();
    const third = loader.next();
    held.release(); // once more does nothing
    assert.ok(third !== null);
    assert.deepEqual(Uint8Array.from(third.data), await transformed(paths[2] ?? ''));
    const fourth = loader.next();
    assert.equal(fourth?.start, 3);
  } finally {
    loader.close();
  }
});

test('nothing comes after close', () => {
  const loader = new ImageLoader({ paths, size: SIZE, batchSize: 4 });
  const batch = loader.next();
  loader.close();
  loader.close();
  batch?.release();
  assert.throws(() => loader.next(), /after close/);
});

test('a bad image ends the work when its batch is due, and not before', () => {
  const list = [...paths.slice(0, 5), broken, ...paths.slice(5), join(folder, 'absent.png')];
  const loader = new ImageLoader({ paths: list, size: SIZE, batchSize: 4, workers: 2, slots: 4 });
  const first = loader.next();
  assert.equal(first?.count, 4);
  assert.throws(
    () => loader.next(),
    (error) => error instanceof UserError && error.message.includes(broken),
  );
});

test('skipped bad images are the mean colour, listed and counted', async () => {
  const absent = join(folder, 'absent.png');
  const list = [paths[0] ?? '', broken, paths[1] ?? '', absent];
  const loader = new ImageLoader({ paths: list, size: SIZE, batchSize: 3, workers: 2, skipBadImages: true });
  try {
    const batches: LoaderBatch[] = [];
    for (let batch = loader.next(); batch !== null; batch = loader.next()) batches.push(batch);
    assert.deepEqual(
      batches.map(({ bad }) => bad.map(({ index, path }) => [index, path])),
      [[[1, broken]], [[3, absent]]],
    );
    assert.match(batches[1]?.bad[0]?.message ?? '', /absent\.png does not exist/);
    const mean = Uint8Array.from({ length: BYTES }, (_, i) => MEAN_PIXEL[i % 3] ?? 0);
    assert.deepEqual(Uint8Array.from(batches[0]?.data.subarray(BYTES, 2 * BYTES) ?? []), mean);
    assert.deepEqual(Uint8Array.from(batches[0]?.data.subarray(2 * BYTES) ?? []), await transformed(paths[1] ?? ''));
    assert.equal(loader.badCount, 2);
  } finally {
    loader.close();
  }
});

/** Threads that are started while `body` runs, as Node announces them. */
async function watchWorkers(body: (workers: Worker[]) => Promise<void>): Promise<void> {
  const workers: Worker[] = [];
  const note = (worker: Worker) => workers.push(worker);
  process.on('worker', note);
  try {
    await body(workers);
  } finally {
    process.off('worker', note);
  }
}

test('a worker that is killed ends the work with a sentence instead of a hang', async () => {
  await watchWorkers(async (workers) => {
    const loader = new ImageLoader({ paths, size: SIZE, batchSize: 1, workers: 1, slots: 1 });
    try {
      const batch = loader.next();
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(workers.length, 1);
      await workers[0]?.terminate();
      batch?.release();
      assert.throws(
        () => {
          for (let next = loader.next(); next !== null; next = loader.next()) next.release();
        },
        (error) => error instanceof UserError && /loader thread ended before its work was done/.test(error.message),
      );
    } finally {
      loader.close();
    }
  });
});

/** Runs a program of a few lines that has ImageLoader and `paths`. */
function runProgram(lines: string): { status: number | null; signal: NodeJS.Signals | null; stderr: string } {
  const loader = pathToFileURL(join(projectRoot, 'dist/data/loader/loader.js')).href;
  const many = JSON.stringify(Array.from({ length: 200 }, (_, i) => paths[i % paths.length]));
  const program = `import { ImageLoader } from ${JSON.stringify(loader)};
const loader = new ImageLoader({ paths: ${many}, size: ${SIZE}, batchSize: 2, workers: 2 });
${lines}`;
  // The time limit only keeps a hang from hanging the tests as well.
  const options = { encoding: 'utf8', timeout: 120_000 } as const;
  return spawnSync(process.execPath, ['--input-type=module', '--eval', program], options);
}

test('a program that throws while workers run ends with its own error', () => {
  const { status, signal, stderr } = runProgram('loader.next(); throw new Error("mine");');
  assert.deepEqual([status, signal], [1, null]);
  assert.match(stderr, /Error: mine/);
});

test('a program that throws before a worker has started ends too', () => {
  assert.deepEqual(runProgram('throw new Error("mine");').status, 1);
});

test('a program that never closes its loader ends when it is done', () => {
  const { status, signal, stderr } = runProgram('loader.next();');
  assert.deepEqual([status, signal, stderr], [0, null, '']);
});

test('process.exit while workers decode is clean', () => {
  const { status, signal, stderr } = runProgram('loader.next().release(); process.exit(3);');
  assert.deepEqual([status, signal, stderr], [3, null, '']);
});
