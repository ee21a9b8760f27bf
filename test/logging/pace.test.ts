// The pace of a loop: waits for data, images a second, and nothing of what happens between two steps.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '#blip/logging/pace.js';

test('waits and images are of the steps since the last time, saves between them left out', () => {
  let now = 0;
  const pace = new Pace(() => now);
  const step = (wait: number, work: number) => {
    pace.begin();
    now += wait;
    pace.dataReady(32);
    now += work;
  };
  step(1, 3);
  assert.deepEqual(pace.take(), { dataWait: 1, imagesPerSecond: 8 }); // asked in the midst of a step
  now += 1;
  pace.end();
  now += 1000;
  step(0, 2);
  pace.end();
  step(0.5, 0.5);
  assert.deepEqual(pace.take(), { dataWait: 0.25, imagesPerSecond: 16 });
  assert.deepEqual(pace.take(), { dataWait: 0, imagesPerSecond: 0 });
});
