// The progress bar: what it shows, every width, NO_COLOR, a terminal that is resized, and no bar where there is no terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canDrawProgress, noColor, ProgressBar, type ProgressOptions, paceText } from '#blip/logging/progress-bar.js';
import { unwrapped } from '../helpers/unwrapped.js';

function bar(columns: number, options: Partial<ProgressOptions> = {}, label = 'Re-ranking val') {
  const clock = { now: 0 };
  const drawn: string[] = [];
  const stream = { isTTY: true, columns, write: (text: string) => drawn.push(unwrapped(text)) };
  const it = new ProgressBar(label, 100, { stream, now: () => clock.now, plain: true, ...options });
  return { clock, drawn, stream, bar: it };
}

const CLEAR = '\r\x1b[2K';

test('the line shows share, count, pace and time left', () => {
  const { clock, drawn, bar: it } = bar(100, { unit: 'images' });
  it.update(0);
  for (const done of [1, 25, 50, 100]) {
    clock.now = done * 1000;
    it.update(done);
  }
  it.finish();
  assert.deepEqual(drawn, [
    `${CLEAR}Re-ranking val [..............................]   0%  0/100  eta -:--:--`,
    `${CLEAR}Re-ranking val [..............................]   1%  1/100  eta -:--:--`,
    `${CLEAR}Re-ranking val [########......................]  25%  25/100  1.0 images/s  eta 0:01:15`,
    `${CLEAR}Re-ranking val [###############...............]  50%  50/100  1.0 images/s  eta 0:00:50`,
    `${CLEAR}Re-ranking val [##############################] 100%  100/100  1.0 images/s  eta 0:00:00`,
    CLEAR,
  ]);
});

test('it is drawn at most ten times a second, and always at the end', () => {
  const { clock, drawn, bar: it } = bar(100);
  for (let i = 1; i <= 100; i++) {
    clock.now += 1;
    it.update(i);
  }
  assert.equal(drawn.length, 2);
});

test('at every width from 20 to 200 the line fits, and has its label and the share', () => {
  for (const label of ['Training epoch 12/100', 'Features val'])
    for (let columns = 20; columns <= 200; columns++) {
      const { clock, drawn, bar: it } = bar(columns, { unit: 'images', each: 32 }, label);
      for (const done of [0, 1, 2, 37, 100]) {
        clock.now = done * 12_345;
        it.update(done);
        const line = drawn.at(-1)?.replace(CLEAR, '') ?? '';
        assert.ok(line.length <= columns - 3, `${columns} columns: ${line.length}`);
        assert.match(line, /\d%/);
        if (columns >= 30) assert.ok(line.startsWith(label), line);
        else assert.ok(line.startsWith(label.slice(0, columns - 9)), line);
        if (columns >= 42) assert.match(line, /eta/);
        if (columns >= 60) assert.match(line, /\[[#.]{10,}\]/);
      }
    }
});

test('the width is that of this moment, and what a narrower terminal broke into lines is cleared whole', () => {
  const size = { columns: 100 };
  const drawn: string[] = [];
  const write = (text: string) => drawn.push(unwrapped(text));
  const stream = { isTTY: true, columns: 100, getWindowSize: (): [number, number] => [size.columns, 24], write };
  const clock = { now: 0 };
  const it = new ProgressBar('Features val', 100, { stream, now: () => clock.now, plain: true });
  it.update(0);
  size.columns = 30;
  clock.now = 1000;
  it.update(1);
  assert.equal(drawn.at(-1), '\r\x1b[2A\x1b[JFeatures val   1%'); // 63 characters are three lines of 30
  it.finish();
  assert.equal(drawn.at(-1), CLEAR);
});

/** A terminal that breaks its lines anew when its width changes. It tells its width when asked, `told`, which may be late. */
class Reflowing {
  readonly isTTY = true;
  told: number;
  /** Lines as they were written, however they are broken. */
  #lines = [''];
  #row = 0;
  #at = 0;
  #wraps = true;

  constructor(public width: number) {
    this.told = width;
  }

  getWindowSize(): [number, number] {
    return [this.told, 50];
  }

  get rows(): string[] {
    return this.#lines.flatMap((line) => line.match(new RegExp(`.{1,${this.width}}`, 'g')) ?? ['']);
  }

  /** As tmux, VTE and others do: a row is a line of its own for what is written from here on. */
  resize(width: number): void {
    this.width = width;
    this.#lines = this.rows;
    this.#row = this.#lines.length - 1;
    this.#at = this.#lines[this.#row]?.length ?? 0;
  }

  write(text: string): void {
    for (const [part, , count = '1', code] of text.replaceAll('\x1b', '⎋').matchAll(/(⎋\[(\??\d*)([A-Zhl]))|[\s\S]/g)) {
      if (code === 'h' || code === 'l') this.#wraps = code === 'h';
      else if (code === 'A') this.#row -= Number(count);
      else if (code === 'K') this.#lines[this.#row] = '';
      else if (code === 'J') this.#lines.splice(this.#row, this.#lines.length, '');
      else if (part === '\r') this.#at = 0;
      else if (part === '\n') [this.#row, this.#at] = [this.#row + 1, 0];
      else this.#put(part);
    }
  }

  #put(character: string): void {
    if (this.#at === this.width) [this.#row, this.#at] = this.#wraps ? [this.#row + 1, 0] : [this.#row, this.width - 1];
    const line = (this.#lines[this.#row] ?? '').padEnd(this.#at);
    this.#lines[this.#row] = line.slice(0, this.#at) + character + line.slice(this.#at + 1);
    this.#at += 1;
  }
}

test('a terminal that tells its new width late is left with one line all the same', () => {
  const clock = { now: 0 };
  const terminal = new Reflowing(60);
  terminal.write('Creating model 0.2 s\n');
  const it = new ProgressBar('Training epoch 2/3', 100, { stream: terminal, now: () => clock.now, plain: true });
  const step = (done: number) => {
    clock.now = done * 1000;
    it.update(done);
  };
  step(0);
  assert.equal(terminal.rows[1]?.length, 57);
  terminal.resize(30);
  for (const done of [1, 2, 3]) step(done);
  terminal.told = 30;
  step(4);
  assert.deepEqual(terminal.rows, ['Creating model 0.2 s', 'Training epoch 2/3   4%']);
  it.finish();
  assert.deepEqual(terminal.rows, ['Creating model 0.2 s', '']);
});

test('a label of wide characters keeps the line in its columns', () => {
  for (let columns = 24; columns <= 100; columns++) {
    const { drawn, bar: it } = bar(columns, {}, '照片的特征');
    it.update(50);
    const line = drawn.at(-1)?.replace(CLEAR, '') ?? '';
    assert.ok(line.length + (line.match(/[照片的特征]/g)?.length ?? 0) <= columns - 3, `${columns}: ${line}`);
  }
});

test('work that differs from unit to unit is what the share and the time left go by', () => {
  const { clock, drawn, bar: it } = bar(100, { work: 1000 });
  const work = [0, 400, 500, 600];
  for (const [done, so] of work.entries()) {
    clock.now = so * 10;
    it.update(done, so);
  }
  assert.match(drawn.at(-1) ?? '', / 60% {2}3\/100 {2}eta 0:00:04$/);
});

test('colour only where it is wanted', () => {
  const coloured = bar(100, { plain: false });
  coloured.bar.update(100);
  assert.match(coloured.drawn.join(''), /\[32m#/);
  assert.equal(noColor({ NO_COLOR: '1' }), true);
  assert.equal(noColor({ NO_COLOR: '' }), false);
  assert.equal(noColor({}), false);
});

test('a pace reads well at any size', () => {
  const texts = [0.25, 3.14, 31.4, 3140].map((pace) => paceText(pace, 'images'));
  assert.deepEqual(texts, ['4.0 s/image', '3.1 images/s', '31 images/s', '3140 images/s']);
});

test('no bar without a terminal or on one that cannot move its cursor', () => {
  const write = () => true;
  assert.equal(canDrawProgress({ write }, {}), false);
  assert.equal(canDrawProgress({ write, isTTY: false }, {}), false);
  assert.equal(canDrawProgress({ write, isTTY: true }, { TERM: 'dumb' }), false);
  assert.equal(canDrawProgress({ write, isTTY: true }, { TERM: 'xterm' }), true);
});
