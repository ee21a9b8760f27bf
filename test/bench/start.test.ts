// `bench start` gives a figure for each thing that stands before a program's work.
// Covers bench/start, print.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printStart } from '#blip/bench/print.js';
import { benchStart } from '#blip/bench/start.js';

test('bench start', async () => {
  const report = await benchStart({ vit: 'tiny', image_size: 32, queue_size: 16, rounds: 1 });
  assert.deepEqual(
    report.starts.map(({ what }) => what),
    ['Node alone', '--version', '--help', 'first operator'],
  );
  for (const { what, min, median, cpu } of report.starts) assert.ok(min > 0 && median >= min && cpu > 0, what);
  const { bytes, min, median, peak_bytes } = report.opened;
  assert.ok(bytes > 1e6 && min > 0 && median >= min && peak_bytes > bytes);
  assert.match(printStart(report), /first operator +\S+ +\S+ +\S+\n *open .*, checksums compared/);
});
