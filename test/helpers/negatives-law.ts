// How often each negative is drawn, against its weight as the reference defines it, by chi-square.
import assert from 'node:assert/strict';
import { drawNegatives } from '#blip/model/negatives.js';
import { Generator, manualSeed } from '#blip/torch/generator.js';
import * as ops from '#blip/torch/ops.js';
import { type Device, scope } from '#blip/torch/tensor.js';

const WIDTH = 8;
const TEMPERATURE = 0.3;
/** The batch's rows are the first of the candidates, as on the first of two ranks; images occur twice, three times. */
const IMAGES = [4, 9, 4, 7, 5, 9, 4, 3, 8, 5];
const ROWS = 6;
/** Cells of a chi-square with fewer draws than this are taken together. */
const FEWEST = 5;

const unit = (x: number[]) => x.map((value) => value / Math.hypot(...x));
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

/** softmax(similarity / temperature) of a row's candidates, 0 for those of its image, as shares. */
function sharesOf(row: number, features: number[][], candidates: number[][]): number[] {
  const own = IMAGES[row];
  const weights = candidates.map((other, c) =>
    IMAGES[c] === own ? 0 : Math.exp(dot(features[row] ?? [], other) / TEMPERATURE),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Chi-square of counts, as standard deviations from its mean where the shares are right. */
function surprise(counts: readonly number[][], shares: readonly number[][], draws: number): number {
  let [chi, freedom] = [0, 0];
  for (const [row, rowShares] of shares.entries()) {
    const rest = { expected: 0, found: 0 };
    let cells = 0;
    const add = (found: number, expected: number) => {
      chi += (found - expected) ** 2 / expected;
      cells++;
    };
    for (const [c, share] of rowShares.entries()) {
      const [found, expected] = [counts[row]?.[c] ?? 0, share * draws];
      if (share === 0) assert.equal(found, 0, `row ${row} has drawn candidate ${c}, which shows its own image`);
      else if (expected >= FEWEST) add(found, expected);
      else {
        rest.expected += expected;
        rest.found += found;
      }
    }
    if (rest.expected > 0) add(rest.found, rest.expected);
    freedom += cells - 1;
  }
  return (chi - freedom) / Math.sqrt(2 * freedom);
}

/** How surprising the negatives drawn are: some standard deviations at most, either way, where they follow their weights. */
export function surpriseOfNegatives(
  device: Device,
  draws: number,
  seed: number,
): { imageOfText: number; textOfImage: number } {
  return scope(() => {
    const generator = Generator.create(7); // the features are the same for every seed
    const rows = (count: number) => {
      const values = [...ops.randn([count, WIDTH], { generator }).float32()];
      return Array.from({ length: count }, (_, i) => unit(values.slice(i * WIDTH, (i + 1) * WIDTH)));
    };
    const [images, texts] = [rows(IMAGES.length), rows(IMAGES.length)];
    generator.dispose();
    const tensor = (x: number[][]) => ops.to(ops.float32(x.flat(), [x.length, WIDTH]), { device });
    const idx = (count: number) => ops.to(ops.int64(IMAGES.slice(0, count)), { device });
    const input = {
      imageFeatures: tensor(images.slice(0, ROWS)),
      textFeatures: tensor(texts.slice(0, ROWS)),
      allImageFeatures: tensor(images),
      allTextFeatures: tensor(texts),
      idx: idx(ROWS),
      allIdx: idx(IMAGES.length),
      temperature: ops.to(ops.full([], TEMPERATURE), { device }),
    };
    const counter = () => Array.from({ length: ROWS }, () => Array<number>(IMAGES.length).fill(0));
    const counts = { imageOfText: counter(), textOfImage: counter() };
    manualSeed(seed);
    for (let draw = 0; draw < draws; draw++) {
      const negatives = drawNegatives(input);
      for (const what of ['imageOfText', 'textOfImage'] as const)
        for (const [row, choice] of negatives[what].entries()) {
          const ofRow = counts[what][row] as number[];
          assert.ok(choice >= 0, `row ${row} has no negative`);
          ofRow[choice] = (ofRow[choice] ?? 0) + 1;
        }
    }
    const shares = (features: number[][], candidates: number[][]) =>
      Array.from({ length: ROWS }, (_, row) => sharesOf(row, features, candidates));
    return {
      imageOfText: surprise(counts.imageOfText, shares(texts, images), draws),
      textOfImage: surprise(counts.textOfImage, shares(images, texts), draws),
    };
  });
}
