// Calls of a Retriever that go wrong, are stopped or are too many: each gets its own answer, and the others theirs.
// Covers retriever, options, image-input, model-thread, windowed.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at } from '#blip/errors.js';
import { Retriever, type RetrieverOptions, UserError } from '#blip/index.js';
import { openCheckpoint, openTensorFile, stateDictOf, writeCheckpoint } from '#blip/torch/checkpoint/index.js';
import { deviceOfRank } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const device = deviceOfRank(0);
const bad = join(folder, 'bad.jpg');
let image: string;
let checkpoint: string;
let blip: Retriever;

before(async () => {
  const rows: { image: string }[] = JSON.parse(
    readFileSync(join(tinyData, 'annotation/coco_karpathy_test.json'), 'utf8'),
  );
  image = join(tinyData, 'images', at(rows, 0).image);
  writeFileSync(bad, readFileSync(image).subarray(0, 300));
  checkpoint = await tinyCheckpoint(folder);
  blip = await Retriever.open(checkpoint, { device });
});
after(() => blip.close());

const says = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof UserError, String(error));
  assert.match(error.message, message);
  return true;
};

test('an image that cannot be read rejects its own call; those of its batch are answered', async () => {
  const results = await Promise.allSettled([
    blip.embedImage(image),
    blip.embedImage(bad),
    blip.embedImage(image),
    blip.embedImage(join(folder, 'absent.jpg')),
    blip.match(bad, 'a cat'),
    blip.match(image, 'a cat'),
    blip.embedTexts(['a cat']),
    blip.embedImage(Buffer.from('not an image')),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status === 'fulfilled'),
    [true, false, true, false, false, true, true, false],
  );
  const sentence = (i: number) => {
    const result = at(results, i);
    assert.ok(result.status === 'rejected' && result.reason instanceof UserError);
    return result.reason.message;
  };
  assert.match(sentence(1), /^The image .*bad\.jpg is truncated or damaged \(/);
  assert.match(sentence(3), /^The image .*absent\.jpg does not exist\. Check the path\.$/);
  assert.equal(sentence(4), sentence(1));
  assert.match(sentence(7), /^The image given as bytes is not a JPEG/);
});

test('an error keeps its stack, and below it that of the call', async () => {
  const error = await blip.embedImage(bad).catch((thrown: unknown) => thrown);
  assert.ok(error instanceof UserError && error.cause instanceof Error);
  assert.match(String(error.stack), /dist\/data\/images\/decode\.js[\s\S]*calls\.test\.js/);
});

test('embedImages names the image that ends it, and leaves the retriever working', async () => {
  const images = [...Array.from({ length: 40 }, () => image), Buffer.alloc(0), image];
  await assert.rejects(blip.embedImages(images), says(/^The image `images\[40\]` is empty\. Replace it\.$/));
  assert.equal((await blip.embedImages([image])).length, 1);
  assert.equal(blip.pending, 0);
});

// Wrong types are what a program in JavaScript gives.
const mistaken: [what: string, call: () => Promise<unknown>, message: RegExp][] = [
  ['no image', () => Reflect.apply(blip.embedImage, blip, []), /^`image` is nothing\. Give a path, a Buffer/],
  ['an address as text', () => blip.embedImage('https://a.test/cat.jpg'), /taken for a path\. Give new URL\(…\)/],
  ['an empty path', () => blip.match('', 'a cat'), /^`image` is an empty text/],
  ['a URL of another kind', () => blip.embedImage(new URL('ftp://a.test/cat.jpg')), /begins with ftp:/],
  [
    'no list',
    () => Reflect.apply(blip.embedTexts, blip, ['a cat']),
    /^`texts` is the text 'a cat'\. Give an array of texts/,
  ],
  ['a number among texts', () => Reflect.apply(blip.embedTexts, blip, [['a', 5]]), /^`texts\[1\]` is the number 5/],
  [
    'a number among images',
    () => Reflect.apply(blip.embedImages, blip, [[image, 5]]),
    /^`images\[1\]` is the number 5/,
  ],
  ['a match without a text', () => Reflect.apply(blip.match, blip, [image]), /^`text` is nothing/],
  [
    'an option that is none',
    () => Reflect.apply(blip.embedImage, blip, [image, { singal: 1 }]),
    /no option `singal`\. Did you mean `signal`\?/,
  ],
  [
    'a signal that is none',
    () => Reflect.apply(blip.embedTexts, blip, [[], { signal: 1 }]),
    /`signal` of embedTexts is the number 1\. Give an AbortSignal\./,
  ],
];
for (const [what, call, message] of mistaken)
  test(`${what} is refused by a sentence`, () => assert.rejects(call, says(message)));

const wrongOptions: [options: RetrieverOptions | Record<string, unknown>, message: RegExp][] = [
  [{ device: 'gpu' }, /^The option `device` of Retriever\.open is the text 'gpu'\. Give 'cpu', 'cuda' or 'cuda:N'\.$/],
  [{ precision: 'fp16' }, /`precision`.*'fp32', 'tf32' or 'bf16'/],
  [{ threads: 0 }, /`threads`.*a whole number from 1 to 4096/],
  [{ batchSize: 1.5 }, /`batchSize`/],
  [{ maxPending: '3' }, /`maxPending`/],
  [{ sha256: 'xyz' }, /`sha256`/],
  [{ print: true }, /`print` of Retriever\.open is True\. Give a function\./],
  [{ batch_size: 3 }, /no option `batch_size`/],
];
for (const [options, message] of wrongOptions)
  test(`open refuses ${JSON.stringify(options)}`, async () => {
    await assert.rejects(
      async () => Reflect.apply(Retriever.open, Retriever, [checkpoint, options]),
      (error) => says(message)(error) && error instanceof UserError && error.exitCode === 2,
    );
  });

test('open says what is wrong with its source', async () => {
  const open = (source: string) => Retriever.open(source, { device });
  await assert.rejects(open(''), says(/^`source` is an empty text/));
  await assert.rejects(open(join(folder, 'absent.pth')), says(/absent\.pth does not exist/));
  await assert.rejects(open(bad), says(/bad\.jpg/));
  await assert.rejects(open(folder), says(/is a folder without model\.safetensors/));
  await assert.rejects(Retriever.open(checkpoint, { device, sha256: '0123456789' }), says(/has the SHA-256/));
});

test('a checkpoint that lacks weights of retrieval is refused by their names', async () => {
  const whole = openCheckpoint(checkpoint);
  const headless = join(folder, 'headless.pth');
  using file = await openTensorFile(checkpoint);
  const tensors = [...stateDictOf(whole)].filter(([name]) => !name.startsWith('itm_head.'));
  const data = new Map(
    tensors.map(([name, ref]) => [name, { dtype: ref.dtype, shape: ref.shape, data: file.tensor(ref).bytes() }]),
  );
  await writeCheckpoint(headless, { model: data });
  const sentence = /headless\.pth lacks 2 of the weights of retrieval \(itm_head\.weight, itm_head\.bias\)\. Take /;
  await assert.rejects(Retriever.open(headless, { device }), says(sentence));
});

test('open stops at its signal', async () => {
  await assert.rejects(Retriever.open(checkpoint, { signal: AbortSignal.abort(new Error('early')) }), /early/);
  const stop = new AbortController();
  const opening = Retriever.open(checkpoint, { device, signal: stop.signal });
  setTimeout(() => stop.abort(new Error('stopped')), 5);
  await assert.rejects(opening, /^Error: stopped$/);
});

test('a signal rejects its call with its reason, whether it waits or is under way; others are answered', async () => {
  const stop = new AbortController();
  const { signal } = stop;
  const first = blip.embedImages(Array.from({ length: 60 }, () => image));
  const stopped = [
    blip.embedImages([image, image], { signal }),
    blip.embedTexts(['a', 'b'], { signal }),
    blip.match(Buffer.from(readFileSync(image)), 'a', { signal }),
  ];
  const other = blip.match(image, 'a cat');
  // The event loop does not turn, or a fast thread's answers would come first; what can be sent without reading has been.
  for (let i = 0; i < 20; i++) await null;
  stop.abort();
  for (const call of stopped) await assert.rejects(call, { name: 'AbortError' });
  assert.equal((await first).length, 60);
  assert.ok((await other).probability > 0);
  await assert.rejects(blip.embedTexts(['a'], { signal }), { name: 'AbortError' });
  assert.equal(blip.pending, 0);
});

test('calls beyond `maxPending` are refused, and welcome again when others have ended', async () => {
  const small = await Retriever.open(checkpoint, { device, maxPending: 2, batchSize: 2 });
  const calls = [small.embedTexts(['a']), small.embedImages(Array.from({ length: 9 }, () => image))];
  assert.equal(small.pending, 2);
  await assert.rejects(small.embedTexts(['b']), says(/^2 calls of the retriever are unfinished\..*`maxPending`\.$/));
  await Promise.all(calls);
  assert.equal((await small.embedTexts(['b'])).length, 1);
  await small.close();
});

test('bytes beyond `maxImageBytes` are refused', async () => {
  const small = await Retriever.open(checkpoint, { device, maxImageBytes: 1000 });
  const large = Buffer.alloc(1001);
  await assert.rejects(small.embedImage(large), says(/^The image given as bytes is too large: .*`maxImageBytes`\.$/));
  await assert.rejects(small.embedImage(new Blob([large])), says(/too large/));
  await small.close();
});
