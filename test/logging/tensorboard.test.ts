// TensorBoard's event files: checksums, scalars, texts, images, runs that go on, runs that were killed. Read by a decoder of
// the test, and by TensorBoard's own where Python has it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { crc32c } from '#blip/logging/crc32c.js';
import { EventLog } from '#blip/logging/tensorboard.js';
import { eventFiles, readEvents, shownScalars } from '../helpers/event-file.js';
import { flatPng, temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();

test('the checksum is CRC-32C, by the examples of RFC 3720', () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

/** A run of six steps that was stopped after step 3, and one that went on from step 2. */
function writeTwo(path: string): void {
  const first = new EventLog(path, { from: 0, now: () => 1_700_000_000.25 });
  first.text(0, 'config', '    vit: base\n    image_root: "ü"');
  for (const step of [0, 1, 2, 3]) first.scalars(step, { 'loss/itm': 1 / (step + 1), 'loss/ita': -step });
  first.image(3, 'val/first', { bytes: flatPng(4, 3, [255, 0, 0]), width: 4, height: 3 });
  first.close();
  const second = new EventLog(path, { from: 2, now: () => 1_700_000_000.75 });
  for (const step of [2, 3, 4, 5]) second.scalars(step, { 'loss/itm': 10 + step, 'loss/ita': -step });
  second.close();
}

const ITM = [
  [0, 1],
  [1, 0.5],
  [2, 12],
  [3, 13],
  [4, 14],
  [5, 15],
];

test('scalars, a text and an image come back as they were written', () => {
  const path = join(folder, 'two');
  writeTwo(path);
  const [first = ''] = eventFiles(path);
  const events = readEvents(first);
  assert.equal(events[0]?.fileVersion, 'brain.Event:2');
  assert.equal(events[0]?.wallTime, 1_700_000_000.25);
  assert.deepEqual(
    events.flatMap(({ values }) => values).filter(({ scalar }) => scalar === undefined),
    [
      { tag: 'config', text: '    vit: base\n    image_root: "ü"' },
      { tag: 'val/first', image: { height: 3, width: 4, bytes: Buffer.from(flatPng(4, 3, [255, 0, 0])) } },
    ],
  );
});

test('a run that goes on from a step leaves no step twice', () => {
  assert.deepEqual(shownScalars(join(folder, 'two')).get('loss/itm'), ITM);
});

test('a file that ends in the middle of a record is read up to it', () => {
  const path = join(folder, 'torn');
  const log = new EventLog(path, { from: 0 });
  log.scalars(0, { a: 1 });
  const whole = readFileSync(log.path).length;
  log.scalars(1, { a: 2 });
  log.close();
  const bytes = readFileSync(log.path);
  for (let length = whole; length < bytes.length; length++) {
    writeFileSync(log.path, bytes.subarray(0, length));
    assert.deepEqual([...shownScalars(path)], [['a', [[0, 1]]]], `${length} bytes`);
  }
});

test('steps beyond 32 bits, and numbers that are none', () => {
  const path = join(folder, 'odd');
  const log = new EventLog(path, { from: 2 ** 40 });
  log.scalars(2 ** 40 + 3, { a: Number.NaN, b: Number.POSITIVE_INFINITY });
  log.close();
  assert.deepEqual(
    [...shownScalars(path).values()],
    [[[2 ** 40 + 3, Number.NaN]], [[2 ** 40 + 3, Number.POSITIVE_INFINITY]]],
  );
});

test('a folder that cannot be written is a sentence', () => {
  symlinkSync('/proc/none', join(folder, 'nowhere'));
  assert.throws(() => new EventLog(join(folder, 'nowhere'), { from: 0 }), UserError);
});

const READER = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'images': 0, 'tensors': 0}).Reload()
tags = events.Tags()
print(json.dumps({
    'scalars': {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags['scalars']},
    'images': {tag: [[e.step, e.width, e.height, len(e.encoded_image_string)] for e in events.Images(tag)] for tag in tags['images']},
    'texts': {tag: [e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)] for tag in tags['tensors']},
    'plugin': events.SummaryMetadata('config').plugin_data.plugin_name,
}))`;

test("TensorBoard's own reader sees the same", (t) => {
  const python = process.env.BLIP_PYTHON ?? 'python3';
  if (spawnSync(python, ['-c', 'import tensorboard']).status !== 0)
    return t.skip(`${python} has no tensorboard: set BLIP_PYTHON to one that has`);
  const path = join(folder, 'two');
  if (!existsSync(path)) writeTwo(path);
  const { stdout, stderr, status } = spawnSync(python, ['-c', READER, path], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const read = JSON.parse(stdout);
  assert.deepEqual(read.scalars['loss/itm'], ITM);
  assert.deepEqual(read.scalars['loss/ita'].at(-1), [5, -5]);
  assert.deepEqual(Object.values(read.images).flat(), [], 'the image was at step 3, which the second run did again');
  assert.deepEqual(read.texts, { config: ['    vit: base\n    image_root: "ü"'] });
  assert.equal(read.plugin, 'text');

  const killed = join(folder, 'killed');
  const log = new EventLog(killed, { from: 0 });
  log.text(0, 'config', 'x');
  log.image(0, 'picture', { bytes: flatPng(4, 3, [255, 0, 0]), width: 4, height: 3 });
  log.scalars(0, { a: 1 });
  log.close();
  writeFileSync(log.path, Buffer.concat([readFileSync(log.path), Buffer.from([9, 0, 0])]));
  const seen = JSON.parse(spawnSync(python, ['-c', READER, killed], { encoding: 'utf8' }).stdout);
  assert.deepEqual(seen.scalars, { a: [[0, 1]] });
  assert.deepEqual(seen.images.picture[0].slice(0, 3), [0, 4, 3]);
});
