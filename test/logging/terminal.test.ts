// What a run says on a terminal: phases, sentences that do not wrap in the middle of a word, progress apart from results.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricLogger } from '#blip/logging/metric-logger.js';
import { doneLine, fitted, referenceVoice, secondsText, Terminal, titled, wrapped } from '#blip/logging/terminal.js';
import { unwrapped } from '../helpers/unwrapped.js';

/** A terminal of `columns` that applies what is written: its lines, and the results apart. */
function screen(columns: number, isTTY = true) {
  const clock = { now: 0 };
  const lines = [''];
  const results: string[] = [];
  const write = (text: string) => {
    for (const character of unwrapped(text).replaceAll('\u001b[2K', '\u0000')) {
      if (character === '\n') lines.push('');
      else if (character === '\u0000') lines[lines.length - 1] = '';
      else if (character !== '\r') lines[lines.length - 1] += character;
    }
  };
  const stream = { columns, write, ...(isTTY && { isTTY }) };
  const terminal = new Terminal(
    stream,
    (line) => results.push(line),
    () => clock.now,
  );
  return { clock, lines, results, terminal };
}

test('a phase is named while it lasts, and says how long it took', () => {
  const { clock, lines, terminal } = screen(80);
  terminal.phase('Reading data');
  assert.deepEqual(lines, ['Reading data …']);
  clock.now = 1.25;
  terminal.note('A note.');
  assert.deepEqual(lines, ['A note.', 'Reading data …']);
  clock.now = 2.5;
  terminal.phase('Creating model');
  clock.now = 15;
  terminal.close();
  terminal.close();
  assert.deepEqual(lines, ['A note.', 'Reading data           2.5 s', 'Creating model         13 s', '']);
});

test("results go elsewhere than progress, and the reference's lines nowhere", () => {
  const { lines, results, terminal } = screen(80);
  terminal.phase('Reading data');
  terminal.result('Recall');
  terminal.echo();
  assert.deepEqual(results, ['Recall']);
  assert.deepEqual(lines, ['Reading data           0.0 s', '']);
});

test('sentences break between words at every width from 20 to 200, and a command not at all', () => {
  const text = 'load checkpoint from /a/b.pth: 265 loaded, 0 missing, 0 unexpected, 0 of another shape';
  for (let columns = 20; columns <= 200; columns++) {
    const lines = wrapped(text, columns).split('\n');
    for (const line of lines) assert.ok(line.length <= columns, `${columns}: ${line}`);
    assert.equal(lines.map((line) => line.trim()).join(' '), text);
  }
  const { results, terminal } = screen(30);
  terminal.result('  npx blip-retrieval --evaluate --config a.yaml');
  assert.deepEqual(results, ['  npx blip-retrieval --evaluate --config a.yaml']);
});

test('a bar takes the place of the phase, and leaves one line', () => {
  const { clock, lines, terminal } = screen(80);
  terminal.phase('Creating model');
  const ended = (label: string, seconds: number, pace: string) => terminal.note(doneLine(label, seconds, pace));
  const logger = new MetricLogger({ stream: terminal.stream, now: () => clock.now, ended, print: assert.fail });
  const loop = logger.start('Features:', 4, 1, 0, { label: 'Features val', unit: 'images' });
  for (let i = 0; i < 4; i++) {
    clock.now += 2;
    loop.step();
  }
  assert.match(lines.at(-1) ?? '', /^Features val \[.*100%/);
  terminal.note('A note.');
  loop.end();
  assert.deepEqual(lines, ['Creating model         0.0 s', 'A note.', 'Features val           8.0 s  2.0 s/image', '']);
});

test('a terminal that cannot move its cursor gets lines', (t) => {
  const { TERM } = process.env;
  process.env.TERM = 'dumb';
  t.after(() => {
    if (TERM === undefined) delete process.env.TERM;
    else process.env.TERM = TERM;
  });
  const { lines, terminal } = screen(80);
  terminal.phase('Reading data');
  assert.deepEqual(lines, ['']);
  terminal.close();
  assert.deepEqual(lines, ['Reading data           0.0 s', '']);
  assert.equal(terminal.stream.isTTY, undefined);
});

test("elsewhere there are the reference's lines", () => {
  const lines: string[] = [];
  const voice = referenceVoice((line) => lines.push(line));
  voice.phase('Reading data', 'Creating retrieval dataset');
  voice.phase('Features');
  voice.note('A note.');
  voice.echo("{'txt_r1': 1.0}");
  voice.result('Epoch 1');
  voice.close();
  assert.deepEqual(lines, ['Creating retrieval dataset', 'A note.', "{'txt_r1': 1.0}"]);
});

test('lines fit into a terminal, commands stay whole, and elsewhere all is as it was', () => {
  const text = `Drawing 96 train, 24 val and 40 test images with five captions each in td/data.\n  ${'command '.repeat(12)}`;
  const stream = { isTTY: true, columns: 60, write: () => true };
  const [first, second, command] = fitted(text, stream).split('\n');
  assert.equal(first, 'Drawing 96 train, 24 val and 40 test images with five');
  assert.equal(second, '  captions each in td/data.');
  assert.equal(command, `  ${'command '.repeat(12)}`);
  assert.equal(fitted(text, { ...stream, isTTY: false }), text);
});

test('a quoted command stays in one piece where a line can hold it, and a long path has the whole line', () => {
  const command = '"npx blip-retrieval setup"';
  for (let columns = 30; columns <= 100; columns++) {
    const text = wrapped(
      `The addon does not load. Run ${command} (in a checkout: "npm run build"); "doctor" shows it.`,
      columns,
    );
    assert.ok(text.includes(command) && text.includes('"npm run build"'), text);
    for (const line of text.split('\n')) assert.ok(line.length <= columns, text);
  }
  const path = '/a/path/of/thirty-eight/characters/here';
  assert.equal(wrapped(`The file ${path} is gone.`, 40), `The file\n ${path}\n  is gone.`);
  assert.equal(wrapped('a "quotation without an end', 14), 'a "quotation\n  without an\n  end');
});

test('a title keeps its column free, and stands alone above what does not fit beside it', () => {
  const stream = { isTTY: true, columns: 30, write: () => true };
  assert.equal(
    titled('Threads', '2 cores, 16.0 GB of memory', 10, stream),
    'Threads   2 cores, 16.0 GB of\n          memory',
  );
  assert.equal(titled('Cache', '/a/path/of/27/characters/ab', 10, stream), 'Cache\n  /a/path/of/27/characters/ab');
  assert.equal(titled('', 'continued here and on', 10, stream), '          continued here and\n          on');
  const elsewhere = { write: () => true };
  assert.equal(titled('Cache', '/a/path/of/27/characters/ab', 10, elsewhere), 'Cache     /a/path/of/27/characters/ab');
});

test('what is said beside the results goes to standard error, and in lines of the terminal', () => {
  const [lines, asides]: [string[], string[]] = [[], []];
  referenceVoice(
    (line) => lines.push(line),
    (line) => asides.push(line),
  ).aside('About 2.2 h to go.');
  assert.deepEqual([lines, asides], [[], ['About 2.2 h to go.']]);
  const calm = screen(40);
  calm.terminal.aside('About 2.2 h to go, as the first 24 images went.');
  assert.deepEqual(calm.lines, ['About 2.2 h to go, as the first', '  24 images went.', '']);
});

test('a number keeps its unit', () => {
  const text = 'Emerald Rapids, 2 cores, 23.5 GiB; text 0.0 % and 10.0 %, image 5.0 % (12 steps)';
  for (let columns = 20; columns <= 90; columns++)
    for (const line of wrapped(text, columns).split('\n')) assert.doesNotMatch(line, /\d$/, `${columns}: ${line}`);
  assert.equal(wrapped('a 123456789 abcdefghij', 15), 'a 123456789\n  abcdefghij', 'where a line can hold both');
});

test('a character that is two columns wide counts twice', () => {
  const words = '照片 in 中文 文件夹 and 사진 の 写真 of 2024';
  for (let columns = 10; columns <= 60; columns++)
    for (const line of wrapped(words, columns).split('\n')) {
      const wide = line.match(/[照片中文件夹사진の写真]/g)?.length ?? 0;
      assert.ok(line.length + wide <= columns, `${columns}: ${line}`);
    }
});

test('times are short', () => {
  assert.deepEqual([0, 9.94, 59.6, 200, 9000].map(secondsText), ['0.0 s', '9.9 s', '60 s', '3 min', '2.5 h']);
});
