// MetricLogger's lines are those that the reference's utils.MetricLogger printed with the same clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lastValue, MetricLogger, SmoothedValue } from '#blip/logging/metric-logger.js';

/** Steps through `total` items on a hand-wound clock, in seconds. */
function loop(
  logger: MetricLogger,
  clock: { now: number },
  total: number,
  header: string,
  printFreq: number,
  waits: (i: number) => number,
  works: (i: number) => number,
): void {
  const log = logger.start(header, total, printFreq);
  try {
    for (let i = 0; i < total; i++) {
      clock.now += waits(i);
      log.dataReady();
      clock.now += works(i);
      log.step();
    }
  } catch (error) {
    log.abort();
    throw error;
  }
  log.end();
}

test('evaluation: no meters, no memory', () => {
  const clock = { now: 100 };
  const lines: string[] = [];
  const logger = new MetricLogger({ print: (line) => lines.push(line), now: () => clock.now });
  loop(
    logger,
    clock,
    103,
    'Evaluation:',
    50,
    (i) => 0.0003 * (1 + (i % 3)),
    (i) => 40 + (i % 7) * 0.01,
  );
  assert.deepEqual(lines, [
    'Evaluation:  [  0/103]  eta: 1:08:40    time: 40.0003  data: 0.0003',
    'Evaluation:  [ 50/103]  eta: 0:35:21    time: 40.0311  data: 0.0006',
    'Evaluation:  [100/103]  eta: 0:02:00    time: 40.0306  data: 0.0006',
    'Evaluation:  [102/103]  eta: 0:00:40    time: 40.0296  data: 0.0006',
    'Evaluation: Total time: 1:08:43 (40.0301 s / it)',
  ]);
});

test('training: meters of three formats, and memory as on CUDA', () => {
  const clock = { now: 0 };
  const lines: string[] = [];
  const logger = new MetricLogger({
    print: (line) => lines.push(line),
    now: () => clock.now,
    maxMemory: () => 1536.7 * 2 ** 20,
  });
  logger.addMeter('lr', new SmoothedValue({ windowSize: 1, format: lastValue(6) }));
  logger.addMeter('loss_itm', new SmoothedValue({ windowSize: 1, format: lastValue(4) }));
  const work = (i: number) => {
    logger.update({ loss_itm: 0.7 - 0.03125 * i, lr: 1e-5, other: i * i });
    return 0.5;
  };
  loop(logger, clock, 3, 'Train Epoch: [0]', 2, () => 0.25, work);
  assert.deepEqual(lines, [
    'Train Epoch: [0]  [0/3]  eta: 0:00:02  lr: 0.000010  loss_itm: 0.7000  other: 0.0000 (0.0000)  time: 0.7500  data: 0.2500  max mem: 1537',
    'Train Epoch: [0]  [2/3]  eta: 0:00:00  lr: 0.000010  loss_itm: 0.6375  other: 1.0000 (1.6667)  time: 0.7500  data: 0.2500  max mem: 1537',
    'Train Epoch: [0] Total time: 0:00:02 (0.7500 s / it)',
  ]);
  assert.equal(logger.globalAverage(), 'lr: 0.0000  loss_itm: 0.6687  other: 1.6667');
});

test('steps that are done together share their time and are all logged', () => {
  let now = 0;
  const lines: string[] = [];
  const loop = new MetricLogger({ print: (line) => lines.push(line), now: () => now }).start('Evaluation:', 4, 2);
  loop.dataReady();
  now = 4;
  loop.step(4);
  loop.end();
  assert.deepEqual(lines, [
    'Evaluation:  [0/4]  eta: 0:00:04    time: 1.0000  data: 0.0000',
    'Evaluation:  [2/4]  eta: 0:00:02    time: 1.0000  data: 0.0000',
    'Evaluation:  [3/4]  eta: 0:00:01    time: 1.0000  data: 0.0000',
    'Evaluation: Total time: 0:00:04 (1.0000 s / it)',
  ]);
});

test('the window forgets, the average does not', () => {
  const meter = new SmoothedValue({ windowSize: 2 });
  for (const value of [10, 1, 2]) meter.update(value);
  assert.equal(meter.median, 1);
  assert.equal(meter.average, 1.5);
  assert.equal(meter.max, 2);
  assert.equal(meter.value, 2);
  meter.update(5, 3);
  assert.equal(meter.globalAverage, 28 / 6);
});

test('quiet prints nothing', () => {
  const clock = { now: 0 };
  const lines: string[] = [];
  const logger = new MetricLogger({ print: (line) => lines.push(line), now: () => clock.now, quiet: true });
  loop(
    logger,
    clock,
    3,
    'Evaluation:',
    1,
    () => 1,
    () => 1,
  );
  assert.deepEqual(lines, []);
});

test('on a terminal a bar takes the place of the lines, and goes away when the loop is left', () => {
  const clock = { now: 0 };
  const lines: string[] = [];
  const drawn: string[] = [];
  const stream = { isTTY: true, columns: 100, write: (text: string) => drawn.push(text) };
  const options = { print: (line: string) => lines.push(line), now: () => clock.now, stream };
  const logger = new MetricLogger(options);
  loop(
    logger,
    clock,
    3,
    'Evaluation:',
    1,
    () => 1,
    () => 1,
  );
  assert.deepEqual(lines, ['Evaluation: Total time: 0:00:06 (2.0000 s / it)']);
  assert.match(drawn.join(''), /1\/3 {2}eta -:--:--/);
  assert.match(drawn.join(''), /2\/3 {2}eta 0:00:02/);
  assert.match(drawn.join(''), /3\/3 {2}eta 0:00:00/);
  assert.equal(drawn.at(-1), '\r\x1b[2K');
  drawn.length = 0;
  assert.throws(() => {
    loop(
      new MetricLogger(options),
      clock,
      3,
      'Evaluation:',
      1,
      () => 1,
      () => {
        throw new Error('stop');
      },
    );
  }, /stop/);
  assert.equal(drawn.at(-1), '\r\x1b[2K');
  assert.equal(lines.length, 1);
});
