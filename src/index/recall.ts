// Which part of the nearest images a search finds that does not compare all.
import { at } from '../errors.js';

/** Of the `top` nearest images of each of `queries` made-up queries, the part that was found: from 0 to 1. */
export interface Recall {
  readonly recall: number;
  readonly queries: number;
  readonly top: number;
}

type Search = (feature: Float32Array, k: number, kind: 'as fits' | 'exact') => Promise<{ similarity: number }[]>;

/**
 * Searches twice for each query: as searches go, and by comparing all. A query is as near to an image of `sample` as a text
 * is to its image. The images themselves would not do: an index of neighbours knows those of every image that is in it, and
 * finds 0.74 of them where it finds 0.48 for a query of its own (docs/search.md).
 */
export async function recallOf(sample: readonly Float32Array[], top: number, search: Search): Promise<Recall> {
  let wanted = 0;
  let found = 0;
  for (const image of sample) {
    const query = near(image);
    const all = await search(query, top, 'exact');
    const some = await search(query, top, 'as fits');
    // Images as near as the last of them are as good an answer.
    const least = (all.at(-1)?.similarity ?? 1) - 1e-6;
    wanted += all.length;
    found += some.filter(({ similarity }) => similarity >= least).length;
  }
  return { recall: wanted === 0 ? 1 : found / wanted, queries: sample.length, top };
}

/** Cosine of a caption and its image, about. */
const COSINE = 0.45;

/** A unit vector at a cosine of COSINE to `image`, in a direction by chance. */
function near(image: Float32Array): Float32Array {
  const drawn = image.map(normal);
  const along = dot(drawn, image);
  const across = drawn.map((value, e) => value - along * at(image, e));
  const length = Math.sqrt(dot(across, across));
  return image.map((value, e) => COSINE * value + (Math.sqrt(1 - COSINE ** 2) * at(across, e)) / length);
}

const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, e) => sum + value * at(b, e), 0);
