// The progress bar: true time left, NO_COLOR, narrow terminals, and no bar where there is no terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canDrawProgress, noColor, ProgressBar } from '#blip/logging/progress-bar.js';

function bar(columns: number, plain: boolean) {
  const clock = { now: 0 };
  const drawn: string[] = [];
  const stream = { isTTY: true, columns, write: (text: string) => drawn.push(text) };
  return { clock, drawn, bar: new ProgressBar('val', 10, { stream, now: () => clock.now, plain }) };
}

test('the line shows share, count, time left at the pace so far, and time gone', () => {
  const { clock, drawn, bar: it } = bar(100, true);
  it.update(0);
  clock.now = 30_000;
  it.update(5);
  clock.now = 60_000;
  it.update(10);
  it.finish();
  assert.deepEqual(drawn, [
    '\r\x1b[2Kval [........................]   0%  0/10  eta -:--:--  elapsed 0:00:00',
    '\r\x1b[2Kval [############............]  50%  5/10  eta 0:00:30  elapsed 0:00:30',
    '\r\x1b[2Kval [########################] 100%  10/10  eta 0:00:00  elapsed 0:01:00',
    '\r\x1b[2K',
  ]);
});

test('it is drawn at most ten times a second, and always at the end', () => {
  const { clock, drawn, bar: it } = bar(100, true);
  for (let i = 1; i <= 10; i++) {
    clock.now += 10;
    it.update(i);
  }
  assert.equal(drawn.length, 2);
});

test('colour only where it is wanted', () => {
  const coloured = bar(100, false);
  coloured.bar.update(10);
  assert.match(coloured.drawn.join(''), /\[32m#/);
  assert.equal(noColor({ NO_COLOR: '1' }), true);
  assert.equal(noColor({ NO_COLOR: '' }), false);
  assert.equal(noColor({}), false);
});

test('a narrow terminal gets a line that does not wrap', () => {
  const { drawn, bar: it } = bar(20, true);
  it.update(10);
  assert.equal(drawn[0]?.replace('\r\x1b[2K', '').length, 19);
});

test('no bar without a terminal or on one that cannot move its cursor', () => {
  const write = () => true;
  assert.equal(canDrawProgress({ write }, {}), false);
  assert.equal(canDrawProgress({ write, isTTY: false }, {}), false);
  assert.equal(canDrawProgress({ write, isTTY: true }, { TERM: 'dumb' }), false);
  assert.equal(canDrawProgress({ write, isTTY: true }, { TERM: 'xterm' }), true);
});
