// bench without a reference: the shape of its report, a page that fits 80 columns, and statistics of repetitions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchMachine, type MachineReport } from '#blip/bench/machine.js';
import { printMachine } from '#blip/bench/print-machine.js';
import { quantile } from '#blip/bench/statistics.js';

test('half of the queries, and 95 % of them', () => {
  const values = Array.from({ length: 20 }, (_, i) => 20 - i);
  assert.equal(quantile(values, 0.5), 10);
  assert.equal(quantile(values, 0.95), 19);
  assert.equal(quantile([7], 0.95), 7);
});

const options = {
  vit: 'tiny',
  image_size: 96,
  queue_size: 64,
  device: 'cpu',
  precision: 'fp32',
  threads: 1,
  seed: 42,
  batch: 2,
  train_batch: 2,
  vit_ckpt_layer: 1,
  texts: 8,
  seconds: 0.05,
} as const;

test('the report has rates, latencies, memory and what they must be read with', async () => {
  const report = await benchMachine(options);
  assert.deepEqual(report, JSON.parse(JSON.stringify(report)), 'all of it is JSON');
  assert.deepEqual(Object.keys(report), [
    'machine',
    'versions',
    'options',
    'images',
    'texts',
    'pairs',
    'text_query',
    'image_query',
    'memory',
    'training',
    'seconds',
  ]);
  assert.ok(!('skipped' in report.training), JSON.stringify(report.training));
  for (const rate of [report.images, report.texts, report.pairs, report.training]) {
    assert.ok(rate.slowest <= rate.per_second && rate.per_second <= rate.fastest, JSON.stringify(rate));
    assert.ok(rate.repetitions >= 2 && rate.wall_seconds > 0 && rate.cpu_seconds > 0);
  }
  assert.deepEqual([report.images.units, report.training.batch], [2, 2]);
  for (const { repetitions, p50, p95 } of [report.text_query, report.image_query])
    assert.ok(repetitions >= 10 && p50 > 0 && p50 <= p95);
  assert.ok(report.memory.peak_bytes > 2 ** 25 && report.training.memory.peak_bytes > 2 ** 25);
  assert.match(report.versions.LibTorch ?? '', /^\d+\./);

  const page = printMachine(report);
  for (const text of [
    'images',
    'texts',
    'pairs',
    'training steps',
    'text query',
    '95 %',
    'peak memory',
    report.machine.cpu,
  ])
    assert.ok(page.includes(text), text);
});

test('a page fits 80 columns, whatever the figures, and says why training was left out', () => {
  const rate = {
    units: 128,
    repetitions: 123_456,
    per_second: 123_456,
    slowest: 0.000_123,
    fastest: 1_234_567,
    wall_seconds: 1234.5,
    cpu_seconds: 12_345.6,
  };
  const query = { repetitions: 123_456, p50: 12.34, p95: 123.4, wall_seconds: 1234, cpu_seconds: 12_345 };
  const report: MachineReport = {
    machine: {
      date: '2026-11-30',
      cpu: 'Intel(R) Xeon(R) Platinum 8592+ (Emerald Rapids)',
      vectors: 'AVX-512, bf16, AMX',
      cores: 128,
      memory_bytes: 2e12,
      load: 123.4,
      node: '24.11.1',
    },
    versions: { LibTorch: '2.11.0' },
    options: { ...options, threads: 128, vit: 'large', image_size: 384 },
    images: rate,
    texts: rate,
    pairs: rate,
    text_query: query,
    image_query: query,
    memory: { peak_bytes: 1e11, device_peak_bytes: 1e11 },
    training: { skipped: 'training needs about 123.4 GB of memory, and 12.3 GB are free' },
    seconds: 123.4,
  };
  for (const line of printMachine(report).split('\n')) assert.ok(line.length <= 80, line);
  assert.match(printMachine(report), /Training was not measured:\ntraining needs about 123\.4 GB/);
  const measured = { ...report, training: { ...rate, batch: 32, memory: report.memory } };
  for (const line of printMachine(measured).split('\n')) assert.ok(line.length <= 80, line);
  // Whether blocks recompute is decided by the memory that is free in a step.
  assert.match(printMachine(measured), /^Of the vision encoder, \d blocks? may be recomputed, if memory is short\.$/m);
  const none = { ...measured, options: { ...measured.options, vit_ckpt_layer: 0 } };
  assert.doesNotMatch(printMachine(none), /recompute/);
});
