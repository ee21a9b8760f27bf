// The work that both programs are given: captions as long as COCO's and images, drawn from a seed.

/** Words of a caption, in order of a sentence; over again until the caption is long enough. */
const parts: readonly (readonly string[])[] = [
  ['a', 'the', 'one', 'another', 'this'],
  ['young', 'large', 'small', 'old', 'white', 'black', 'brown', 'red', 'wooden', 'green', 'empty', 'busy'],
  [
    'man',
    'woman',
    'dog',
    'cat',
    'train',
    'bus',
    'table',
    'kitchen',
    'street',
    'horse',
    'boat',
    'pizza',
    'bench',
    'giraffe',
  ],
  ['sitting', 'standing', 'parked', 'riding', 'walking', 'lying', 'waiting', 'playing', 'looking', 'eating'],
  ['near', 'beside', 'behind', 'under', 'above', 'across', 'with', 'on', 'in', 'by'],
];

/** How often a caption has so many words, in percent, close to COCO's: mean 10.4, most from 9 to 11, a tail beyond 20. */
const lengths: readonly (readonly [words: number, percent: number])[] = [
  [8, 13],
  [9, 25],
  [10, 25],
  [11, 15],
  [12, 9],
  [13, 5],
  [14, 3],
  [15, 2],
  [16, 1.2],
  [17, 0.8],
  [19, 0.6],
  [22, 0.3],
  [27, 0.1],
];

/** A generator of numbers in [0, 1): 32 bits of state, the same sequence on every machine (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pick<T>(from: readonly T[], random: () => number): T {
  const chosen = from[Math.floor(random() * from.length)];
  if (chosen === undefined) throw new RangeError('nothing to pick from');
  return chosen;
}

/** The length at which the running sum of `lengths` passes `share`. */
function drawLength(share: number): number {
  let sum = 0;
  for (const [words, percent] of lengths) {
    sum += percent;
    if (share < sum) return words;
  }
  return 10;
}

/** `count` captions of COCO's length distribution. */
export function drawCaptions(count: number, seed: number): string[] {
  const random = uniform(seed);
  const total = lengths.reduce((sum, [, percent]) => sum + percent, 0);
  return Array.from({ length: count }, () => {
    const length = drawLength(random() * total);
    return Array.from({ length }, (_, word) => pick(parts[word % parts.length] ?? [], random)).join(' ');
  });
}

/**
 * `count` images of decoded pixels, uint8 (count, size, size, 3): for each image and colour a wave of its own under
 * noise, so that features differ from image to image.
 */
export function drawImages(count: number, size: number, seed: number): Uint8Array {
  const random = uniform(seed);
  const pixels = new Uint8Array(count * size * size * 3);
  for (let plane = 0; plane < count * 3; plane++) {
    const image = Math.floor(plane / 3) * size * size;
    const [level, fx, fy, phase] = [70 + random() * 116, random() * 12, random() * 12, random() * 2 * Math.PI];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const wave = Math.sin((fx * x + fy * y) / size + phase);
        pixels[(image + y * size + x) * 3 + (plane % 3)] = level + 45 * wave + 50 * (random() - 0.5);
      }
    }
  }
  return pixels;
}

/** The image of each of `texts` captions: in order, as even as can be, each image once at the least. */
export function spreadTexts(texts: number, images: number): number[] {
  return Array.from({ length: texts }, (_, text) => Math.floor((text * images) / texts));
}
