// Ctrl-C on a terminal, whatever computes: the last line is a sentence, nothing is left of a bar or of ^C, the exit code is 130.
// Covers libtorch/last-words, native/last_words.cc, training/stop-signals, commands/signal-words.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { SAME_SIGNAL_MS } from '#blip/distributed/signals.js';
import { CTRL_C, inTerminal, noTerminal, type PseudoTerminal } from '../helpers/pseudo-terminal.js';
import { runCli } from '../helpers/run-cli.js';
import { runNode } from '../helpers/run-node.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns({ changes: { max_epoch: 1000 } });
const options = { skip: noTerminal };
let longSplit: string;

before(async () => {
  await tiny.write();
  // An evaluation that takes minutes.
  longSplit = tiny.path('long');
  cpSync(join(tinyData, 'annotation'), longSplit, { recursive: true });
  const name = join(longSplit, 'coco_karpathy_val.json');
  const rows = JSON.parse(readFileSync(name, 'utf8'));
  writeFileSync(name, JSON.stringify(Array.from({ length: 200 }, () => rows).flat()));
});

/** The lines at the end of a command that Ctrl-C has ended. */
async function endOf(terminal: PseudoTerminal): Promise<string[]> {
  const code = await terminal.ended;
  const lines = terminal.lines();
  assert.equal(code, 130, lines.join('\n'));
  for (const line of lines) assert.doesNotMatch(line, /\^C|\[[#.]{5}/, lines.join('\n'));
  assert.equal(lines.at(-1), '', 'the cursor is on a line of its own');
  return lines.slice(0, -1);
}

test('an evaluation is stopped in the middle of its computation', options, async () => {
  const terminal = inTerminal(tiny.args('evaluated', '--evaluate', '--set', `ann_root=${longSplit}`));
  await terminal.shows(/Features val \[/);
  terminal.type(CTRL_C);
  assert.equal((await endOf(terminal)).at(-1), 'Stopped by SIGINT.');
});

test('an evaluation in a training says that what was trained is saved, and it is', options, async () => {
  const flags = ['--set', `ann_root=${longSplit}`, '--set', 'max_epoch=1'];
  const terminal = inTerminal(tiny.args('trained', ...flags), { columns: 70 });
  await terminal.shows(/Features val \[/);
  terminal.type(CTRL_C);
  const [first, second] = (await endOf(terminal)).slice(-2);
  assert.equal(first, 'Stopped by SIGINT in the evaluation; checkpoint_last.pth is saved.');
  assert.equal(second, '  Continue with --resume latest.');
  assert.ok(readdirSync(tiny.path('trained')).includes('checkpoint_last.pth'));
});

test('training says at once that it will stop, and saves; npm doubles the signal', options, async () => {
  const terminal = inTerminal(tiny.args('steps'), { columns: 100 });
  await terminal.shows(/Training epoch \d+\/1000 \[/);
  terminal.type(CTRL_C + CTRL_C);
  const lines = await endOf(terminal);
  assert.equal(lines.at(-2), 'Stopping after this step, which is saved first. Another Ctrl-C ends the run at once.');
  assert.match(
    lines.at(-1) ?? '',
    /^Stopped by SIGINT after \d+ steps?; checkpoint_last\.pth is saved\. Continue with/,
  );
});

test('the ranks of a launcher are stopped, and their sentence fits the terminal', options, async () => {
  const flags = ['--evaluate', '--nproc_per_node', '2', '--set', `ann_root=${longSplit}`];
  const terminal = inTerminal(tiny.args('ranks', ...flags));
  await terminal.shows(/Creating model +\d/);
  terminal.type(CTRL_C);
  const lines = await endOf(terminal);
  assert.equal(lines.at(-1), 'Stopped by SIGINT.');
  const long = lines.filter((line) => line.length >= 60 && !line.split(' ').some((word) => word.length > 40));
  assert.deepEqual(long, []);
});

test(
  'index keeps what was encoded, also where npm doubles the signal; embed and check-data stop',
  options,
  async () => {
    const many = tiny.path('many');
    mkdirSync(many);
    const images = join(tinyData, 'images/val');
    for (const name of readdirSync(images)) {
      cpSync(join(images, name), tiny.path(name));
      for (let i = 0; i < 400; i++) linkSync(tiny.path(name), join(many, `${i}-${name}`));
    }
    const model = ['--checkpoint', tiny.path('rule_tiny.pth')];
    const indexed = inTerminal(['index', many, ...model], { columns: 120 });
    await indexed.shows(/images \[/);
    indexed.type(CTRL_C + CTRL_C);
    const lines = await endOf(indexed);
    assert.equal(
      lines.at(-1),
      'Stopped by SIGINT. What was encoded so far is kept; the same command goes on from there.',
    );
    const embedded = inTerminal(['embed', many, '--output', tiny.path('x.safetensors'), ...model]);
    await embedded.shows(/Embedding \[/);
    embedded.type(CTRL_C);
    assert.equal((await endOf(embedded)).at(-1), 'Stopped by SIGINT.');

    const annotations = tiny.path('many-annotations');
    cpSync(join(tinyData, 'annotation'), annotations, { recursive: true });
    const rows = readdirSync(many).map((image) => ({ image, caption: ['a text'] }));
    writeFileSync(join(annotations, 'coco_karpathy_val.json'), JSON.stringify(rows));
    const set = ['--set', `ann_root=${annotations}`, '--set', `image_root=${many}`];
    const checked = inTerminal(['check-data', '--config', tiny.config, ...set]);
    await checked.shows(/Decoding images \[/);
    checked.type(CTRL_C);
    assert.equal((await endOf(checked)).at(-1), 'Stopped by SIGINT.');
  },
);

test(
  'a server that waits for a request says one clean line at one Ctrl-C, at two in a row, and at the one that ends it',
  options,
  async (t) => {
    const index = tiny.path('served.index');
    const model = ['--checkpoint', tiny.path('rule_tiny.pth'), '--device', 'cpu'];
    assert.equal((await runCli(['index', join(tinyData, 'images/val'), '-o', index, ...model])).code, 0);
    const stopping = 'Stopping: what is under way has ten seconds.';
    for (const ends of [false, true]) {
      const terminal = inTerminal(['serve', index, '--port', '0', '--device', 'cpu'], { columns: 120 });
      await terminal.shows(/ at http:.*:\d+\r?\n/);
      const port = /:(\d+)$/.exec(terminal.lines().join(' ').trimEnd())?.[1];
      const request = connect(Number(port), '127.0.0.1');
      t.after(() => request.destroy());
      request
        .on('error', () => {})
        .write(`POST /search HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: 9\r\n\r\n{`);
      await once(request, 'ready');
      await setTimeout(100);
      terminal.type(CTRL_C);
      await terminal.shows(/Stopping/);
      await setTimeout(ends ? SAME_SIGNAL_MS + 50 : 50);
      terminal.type(CTRL_C);
      await terminal.shows(/\^C[\s\S]*\^C[\s\S]*\[2K/);
      if (!ends) request.destroy();
      assert.equal((await endOf(terminal)).slice(1).join('|'), ends ? `${stopping}|Stopped by SIGINT.` : stopping);
    }
  },
);

test('the benchmarks stop, though a process that they wait for has gone first', options, async () => {
  const size = ['--vit', 'tiny', '--image_size', '96', '--queue_size', '64'];
  for (const [work, shown] of [
    [['start', '--rounds', '1000'], /1000 rounds/],
    [['--seconds', '100'], /measuring images/],
  ] as const) {
    const terminal = inTerminal(['bench', ...work, ...size]);
    await terminal.shows(shown);
    terminal.type(CTRL_C);
    assert.equal((await endOf(terminal)).at(-1), 'Stopped by SIGINT.');
  }
});

const block = 'const wait = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);';

test('a process that computes says its last words and dies of the signal', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const ended = await runNode(`
      import { STOPPED, setLastWords } from '#blip/libtorch/last-words.js';
      setLastWords({ last: () => 'Replaced.' });
      setLastWords(STOPPED);
      process.kill(process.pid, '${signal}');
      console.log('went on');`);
    assert.deepEqual([ended.signal, ended.stdout, ended.stderr], [signal, '', `Stopped by ${signal}.\n`]);
  }
});

test('where a listener waits for the event loop the first signal is answered at once, the next one ends the process', async () => {
  const { signal, stdout, stderr } = await runNode(`
    import { STOPPED, setLastWords } from '#blip/libtorch/last-words.js';
    ${block}
    process.on('SIGINT', () => console.log('seen'));
    setLastWords({ ...STOPPED, noted: (signal) => 'Noted ' + signal + '.' });
    process.kill(process.pid, 'SIGINT');
    process.kill(process.pid, 'SIGINT'); // npm's
    wait(600);
    process.kill(process.pid, 'SIGINT');
    console.log('went on');`);
  assert.deepEqual([signal, stdout, stderr], ['SIGINT', '', 'Noted SIGINT.\nStopped by SIGINT.\n']);
});

test('the listener has the first signal once the event loop turns; released, the signal ends the process', async () => {
  const { signal, stdout, stderr } = await runNode(`
    import { setTimeout } from 'node:timers/promises';
    import { STOPPED, setLastWords } from '#blip/libtorch/last-words.js';
    import { StopSignals } from '#blip/training/stop-signals.js';
    const signals = new StopSignals({ noted: () => 'Noted.', onCaught: (name) => console.log('caught ' + name) });
    signals.watch();
    process.kill(process.pid, 'SIGTERM');
    process.kill(process.pid, 'SIGTERM');
    await setTimeout(20);
    console.log(signals.caught);
    signals.release();
    setLastWords(STOPPED);
    process.kill(process.pid, 'SIGINT');
    console.log('went on');`);
  assert.deepEqual([signal, stdout, stderr], ['SIGINT', 'caught SIGTERM\nSIGTERM\n', 'Noted.\nStopped by SIGINT.\n']);
});

test('without words a second signal ends the process too, but for one that npm has doubled', async () => {
  const { signal, stdout } = await runNode(`
    import { setTimeout } from 'node:timers/promises';
    import { StopSignals } from '#blip/training/stop-signals.js';
    const signals = new StopSignals();
    signals.watch();
    process.kill(process.pid, 'SIGUSR2');
    await setTimeout(20);
    process.kill(process.pid, 'SIGUSR2');
    await setTimeout(600);
    console.log('waits');
    process.kill(process.pid, 'SIGUSR2');
    await setTimeout(20_000);
    console.log('went on');`);
  assert.deepEqual([signal, stdout], ['SIGUSR2', 'waits\n']);
});
