// itmEval against the reference's goldens and hand-made matrices.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { UserError } from '#blip/errors.js';
import { itmEval, type RetrievalMetrics } from '#blip/evaluation/recall.js';
import { absent, fixture } from '../helpers/fixtures.js';

/** Rows of one length as one array. */
function flat(rows: readonly (readonly number[])[]): Float32Array {
  return Float32Array.from(rows.flat());
}

interface Grouping {
  txt2img: Int32Array;
  img2txt: number[][];
}

/** The lists for images that have `counts` captions each, in order. */
function grouping(counts: readonly number[]): Grouping {
  let text = 0;
  const img2txt = counts.map((count) => Array.from({ length: count }, () => text++));
  return { img2txt, txt2img: Int32Array.from(img2txt.flatMap((texts, image) => texts.map(() => image))) };
}

function read(name: string): string | undefined {
  const path = fixture(name);
  return path === undefined ? undefined : readFileSync(path, 'utf8');
}

test('metrics.json: recalls of the reference, ties included, to the last digit', (t) => {
  const text = read('metrics.json');
  if (text === undefined) return t.skip(absent('metrics.json'));
  const cases: { i2t: number[][]; t2i: number[][]; captions_per_image: number; metrics: RetrievalMetrics }[] =
    JSON.parse(text);
  assert.ok(cases.length > 0);
  for (const { i2t, t2i, captions_per_image, metrics } of cases) {
    const { txt2img, img2txt } = grouping(i2t.map(() => captions_per_image));
    assert.deepEqual(itmEval(flat(i2t), flat(t2i), txt2img, img2txt), metrics);
  }
});

/** The float32 tensors of a safetensors file. */
function tensors(path: string): Map<string, { shape: number[]; values: Float32Array }> {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    bytes.toString('utf8', 8, 8 + length),
  );
  return new Map(
    Object.entries(header)
      .filter(([, { dtype }]) => dtype === 'F32')
      .map(([name, { shape, data_offsets: offsets }]) => {
        const [start, end] = offsets.map((offset) => 8 + length + offset);
        return [name, { shape, values: new Float32Array(Uint8Array.from(bytes.subarray(start, end)).buffer) }];
      }),
  );
}

for (const place of ['', 'rule_tiny/']) {
  test(`${place}eval: the score matrices of the reference give its recalls`, (t) => {
    const names = ['eval.json', 'eval.safetensors', 'data'].map((name) => place + name);
    const [json, scores, data] = names.map(fixture);
    if (!json || !scores || !data) return t.skip(absent(`${place}eval.json`));
    const golden: { metrics: Record<string, RetrievalMetrics> } = JSON.parse(readFileSync(json, 'utf8'));
    const all = tensors(scores);
    for (const split of ['val', 'test']) {
      const rows: { caption: string[] }[] = JSON.parse(
        readFileSync(`${data}/annotation/coco_karpathy_${split}.json`, 'utf8'),
      );
      const { txt2img, img2txt } = grouping(rows.map(({ caption }) => caption.length));
      const named = (part: string) =>
        [...all].find(([name]) => name.includes(split) && name.includes(part))?.[1].values;
      const [i2t, t2i] = [named('i2t'), named('t2i')];
      assert.ok(i2t && t2i, `no scores of ${split} among ${[...all.keys()].join(', ')}`);
      assert.deepEqual(itmEval(i2t, t2i, txt2img, img2txt), golden.metrics[split]);
    }
  });
}

test('a perfect ranking is 100, its reverse is 0 at 1', () => {
  const { txt2img, img2txt } = grouping([1, 1, 1]);
  const diagonal = flat([
    [3, 1, 0],
    [1, 3, 0],
    [0, 1, 3],
  ]);
  const perfect = itmEval(diagonal, diagonal, txt2img, img2txt);
  assert.equal(perfect.r_mean, 100);
  const reversed = itmEval(
    diagonal.map((score) => -score),
    diagonal,
    txt2img,
    img2txt,
  );
  assert.equal(reversed.txt_r1, 0);
  assert.equal(reversed.txt_r5, 100);
  assert.equal(reversed.img_r1, 100);
});

test('the best of several captions counts, and only it', () => {
  const { txt2img, img2txt } = grouping([2, 2]);
  const i2t = flat([
    [0, 9, 5, 6],
    [1, 2, 3, 0],
  ]);
  const t2i = flat([
    [1, 0],
    [0, 1],
    [0, 1],
    [1, 0],
  ]);
  const metrics = itmEval(i2t, t2i, txt2img, img2txt);
  assert.equal(metrics.txt_r1, 100);
  assert.equal(metrics.img_r1, 50);
});

test('of equal scores the higher index ranks first', () => {
  const { txt2img, img2txt } = grouping([1, 1]);
  const equal = flat([
    [7, 7],
    [7, 7],
  ]);
  const metrics = itmEval(equal, equal, txt2img, img2txt);
  assert.equal(metrics.txt_r1, 50);
  assert.equal(metrics.img_r1, 50);
  // Only the second image and the second text come first: swap their owners and none does.
  const swapped = itmEval(equal, equal, Int32Array.of(0, 0), [[0], []]);
  assert.equal(swapped.txt_r1, 0);
  assert.equal(swapped.img_r1, 0);
});

test('ranks agree with sorting, on scores with many ties and infinities', () => {
  let state = 1;
  const random = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  const counts = Array.from({ length: 20 }, (_, i) => 1 + (i % 6));
  const { txt2img, img2txt } = grouping(counts);
  const draw = (size: number) =>
    Float32Array.from({ length: size }, () => (random() < 0.1 ? -Infinity : Math.floor(random() * 12)));
  const [i2t, t2i] = [draw(20 * txt2img.length), draw(20 * txt2img.length)];
  const bySorting = (row: Float32Array, targets: readonly number[]) => {
    const order = [...row.keys()].sort((a, b) => (row[a] === row[b] ? b - a : (row[b] ?? 0) - (row[a] ?? 0)));
    return Math.min(...targets.map((target) => order.indexOf(target)));
  };
  const share = (ranks: number[], k: number) => (100 * ranks.filter((rank) => rank < k).length) / ranks.length;
  const texts = txt2img.length;
  const imageRanks = img2txt.map((targets, i) => bySorting(i2t.subarray(i * texts, (i + 1) * texts), targets));
  const textRanks = [...txt2img].map((image, i) => bySorting(t2i.subarray(i * 20, (i + 1) * 20), [image]));
  const metrics = itmEval(i2t, t2i, txt2img, img2txt);
  for (const k of [1, 5, 10] as const) {
    assert.equal(metrics[`txt_r${k}`], share(imageRanks, k));
    assert.equal(metrics[`img_r${k}`], share(textRanks, k));
  }
});

test('an image without captions counts and is never found', () => {
  const metrics = itmEval(flat([[1], [1]]), flat([[5, 1]]), Int32Array.of(0), [[0], []]);
  assert.equal(metrics.txt_r1, 50);
  assert.equal(metrics.txt_r10, 50);
  assert.equal(metrics.img_r1, 100);
});

test('what cannot be ranked is refused with a sentence', () => {
  const { txt2img, img2txt } = grouping([1, 1]);
  const good = flat([
    [1, 0],
    [0, 1],
  ]);
  const bad = Float32Array.from(good);
  bad[2] = Number.NaN;
  const refuses = (run: () => unknown, message: RegExp) => {
    assert.throws(run, (error: unknown) => error instanceof UserError && message.test(error.message));
  };
  refuses(() => itmEval(bad, good, txt2img, img2txt), /image-to-text score in row 1, column 0 is not a number/);
  refuses(() => itmEval(good, bad, txt2img, img2txt), /text-to-image score in row 1, column 0/);
  refuses(() => itmEval(good.subarray(1), good, txt2img, img2txt), /2 x 2 image-to-text scores but received 3/);
  refuses(() => itmEval(good, good, txt2img, [[0], [5]]), /index 5/);
  refuses(() => itmEval(good, good, Int32Array.of(0, -1), img2txt), /index -1/);
  refuses(() => itmEval(new Float32Array(0), new Float32Array(0), new Int32Array(0), []), /0 images and 0 captions/);
});
