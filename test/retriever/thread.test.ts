// The thread of a Retriever: batches, an event loop that turns meanwhile, and its end, by close, with the program or by death.
// Covers retriever, model-thread, worker.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { at } from '#blip/errors.js';
import { Retriever, UserError } from '#blip/index.js';
import { liveHandles } from '#blip/torch/tensor.js';
import { deviceOfRank } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { plant, runCodeThere } from '../helpers/planted.js';
import { runNodeWith } from '../helpers/run-node.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const device = deviceOfRank(0);
const images = readdirSync(join(tinyData, 'images'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.jpg'))
  .map((name) => join(tinyData, 'images', name));
const image = at(images, 0);
let checkpoint: string;

before(async () => {
  checkpoint = await tinyCheckpoint(folder);
});

/** A program that opens a retriever as `blip`, and then does `body`. */
const program = (body: string, entry = 'blip-retrieval') => `
  import { Retriever } from '${entry}';
  const images = ${JSON.stringify(images.slice(0, 12))};
  const blip = await Retriever.open(${JSON.stringify(checkpoint)}, { device: ${JSON.stringify(device)} });
  ${body}`;
const run = (body: string) => runNodeWith(['--input-type=module', '-e', program(body)], { timeout: 120_000 });

test('close rejects what is unfinished and every call after it, and frees the model', async () => {
  const handles = liveHandles();
  const blip = await Retriever.open(checkpoint, { device });
  await blip.embedTexts(['a cat']);
  assert.ok(liveHandles() > handles);
  const calls = [blip.embedImages(images), blip.embedTexts(['a']), blip.match(image, 'a')];
  const ends = calls.map((call) =>
    assert.rejects(call, /^UserError: The retriever was closed before the call was done/),
  );
  await Promise.all([blip.close(), blip.close(), ...ends]);
  await assert.rejects(blip.embedImage(image), /^UserError: The retriever is closed/);
  await blip.close();
  assert.equal(liveHandles(), handles);
  assert.equal(blip.pending, 0);
});

test('a retriever that is closed in the middle of its work leaves nothing, at any moment', async () => {
  const handles = liveHandles();
  for (const pause of [0, 1, 3, 10, 30]) {
    const blip = await Retriever.open(checkpoint, { device });
    const call = blip.embedImages(images).catch((error: unknown) => error);
    await new Promise((resume) => setTimeout(resume, pause));
    await blip[Symbol.asyncDispose]();
    const result = await call;
    assert.ok(result instanceof UserError || Array.isArray(result));
    assert.equal(liveHandles(), handles);
  }
});

test('a program with an idle retriever ends by itself; one with an unfinished call waits for it', async () => {
  const idle = await run(`await blip.embedTexts(['a']); console.log('done');`);
  assert.deepEqual(idle, { code: 0, signal: null, stdout: 'done\n', stderr: '' });
  const busy = await run(`blip.embedImages(images).then((all) => console.log(all.length));`);
  assert.deepEqual(busy, { code: 0, signal: null, stdout: '12\n', stderr: '' });
});

test('process.exit and an uncaught error in the middle of the work end the program as ever', async () => {
  for (const pause of [0, 5, 20]) {
    const work = `void blip.embedImages([...images, ...images]);`;
    const exited = await run(`${work} setTimeout(() => process.exit(3), ${pause});`);
    assert.deepEqual(exited, { code: 3, signal: null, stdout: '', stderr: '' });
  }
  const thrown = await run(`void blip.embedImages(images); setTimeout(() => { throw new Error('mine'); }, 5);`);
  assert.equal(thrown.code, 1);
  assert.match(thrown.stderr, /Error: mine/);
  const loading = await run(`void Retriever.open(blip.path); setTimeout(() => process.exit(4), 30);`);
  assert.deepEqual(loading, { code: 4, signal: null, stdout: '', stderr: '' });
});

test('when the thread dies, every call is rejected by a sentence, and so are later ones', async (t) => {
  const there = plant(
    [{ file: 'dist/retriever/engine.js', from: 'embedTexts(texts) {', to: 'embedTexts(texts) { process.exit(7);' }],
    t,
  );
  const body = `
    const calls = [blip.embedTexts(['a']), blip.embedImage(images[0]), blip.match(images[0], 'a')];
    for (const { reason } of await Promise.allSettled(calls)) console.log(String(reason));
    await blip.embedTexts(['a']).catch((error) => console.log(String(error)));
    await blip.close();`;
  const { code, stdout, stderr } = await runCodeThere(there, program(body, '#blip/index.js'));
  assert.equal(code, 0, stderr);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines.length, 4);
  const sentence =
    'UserError: The thread that runs the model ended before its work was done (exit code 7). Open the retriever again.';
  assert.ok(lines.filter((line) => line === sentence).length >= 3, stdout); // the image may have been done before
});

test('a defect in the thread keeps its class, its words and its stack', async (t) => {
  const from = 'embedTexts(texts) {';
  const to = `${from} throw Object.assign(new RangeError('a defect'), { code: 'ERR_MINE' });`;
  const there = plant([{ file: 'dist/retriever/engine.js', from, to }], t);
  const body = `
    const error = await blip.embedTexts(['a']).catch((reason) => reason);
    console.log(error.name, error.code, error.stack);
    console.log((await blip.embedImage(images[0])).length);`;
  const { code, stdout, stderr } = await runCodeThere(there, program(body, '#blip/index.js'));
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^RangeError ERR_MINE RangeError: a defect\n[\s\S]*retriever\/engine\.js[\s\S]*\n256\n$/);
});

test('calls of one turn are joined into batches of one kind, of `batchSize` images', async (t) => {
  const from = 'send({ outcomes: compute(engine, scan, jobs, ready) });';
  // Written at once: what a thread prints passes through the main thread.
  const to = `(await import('node:fs')).writeSync(1, jobs[0].kind + ' ' + jobs.length + '\\n'); ${from}`;
  const there = plant([{ file: 'dist/retriever/worker.js', from, to }], t);
  const body = `
    const calls = images.flatMap((image) => [blip.embedImage(image), blip.embedTexts([image])]);
    await Promise.all(calls);
    await Promise.all(images.slice(0, 3).map((image) => blip.match(image, ['a', 'b'])));
    await blip.close();`;
  const { code, stdout, stderr } = await runCodeThere(there, program(body, '#blip/index.js'));
  assert.equal(code, 0, stderr);
  const most = device === 'cpu' ? ['image 8', 'texts 12', 'image 4', 'match 3'] : ['image 12', 'texts 12', 'match 3'];
  assert.deepEqual(stdout.trimEnd().split('\n').sort(), most.sort());
});

test('close comes to its end though an answer of the thread arrives meanwhile', async (t) => {
  const from = 'send({ outcomes: compute(engine, scan, jobs, ready) });';
  const to = `${from} (await import('node:fs')).writeFileSync(process.env.ANSWERED, '');`;
  const there = plant([{ file: 'dist/retriever/worker.js', from, to }], t);
  const body = `
    import { existsSync } from 'node:fs';
    const call = blip.embedTexts(['a']).catch((error) => error.name);
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate); // the job goes to the thread
    // Nothing is received before the answer is there: it comes between the call of close and the thread's end.
    while (!existsSync(process.env.ANSWERED)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    const closing = blip.close();
    console.log(await call);
    await closing;
    console.log('closed');`;
  const env = { ANSWERED: join(there, 'answered') };
  const { code, stdout, stderr } = await runCodeThere(there, program(body, '#blip/index.js'), env);
  assert.deepEqual([code, stdout, stderr], [0, 'UserError\nclosed\n', '']);
});

test('the event loop turns while the model computes', async (t) => {
  // The model waits for a file that the main thread writes: it would wait for ever if a call held that up.
  const from = 'embedTexts(texts) {';
  const to = `${from} while (!existsSync(texts[0])) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);`;
  const file = 'dist/retriever/engine.js';
  const there = plant([{ file, from, to }], t);
  const engine = join(there, file);
  writeFileSync(engine, `import { existsSync } from 'node:fs';\n${readFileSync(engine, 'utf8')}`);
  const awaited = join(there, 'written-by-the-main-thread');
  const body = `
    import { writeFileSync } from 'node:fs';
    const call = blip.embedTexts([${JSON.stringify(awaited)}]);
    setTimeout(() => writeFileSync(${JSON.stringify(awaited)}, ''), 50);
    console.log((await call).length);`;
  const { code, stdout, stderr } = await runCodeThere(there, program(body, '#blip/index.js'));
  assert.equal(code, 0, stderr);
  assert.equal(stdout, '1\n');
});
