// Which part of the nearest images a search finds that does not compare all.
import { at } from '../errors.js';

/** Parts of the `top` nearest images that were found, from 0 to 1. */
export interface Recall {
  /** With images of the index as queries. */
  readonly images: number;
  /** With texts that were given, or queries as far from images as captions are. */
  readonly texts: number;
  /** How many images were searched by. */
  readonly queries: number;
  readonly top: number;
}

type Search = (feature: Float32Array, k: number, kind: 'as fits' | 'exact') => Promise<{ similarity: number }[]>;

/**
 * Searches twice for each query: as searches go, and by comparing all. Images of the index alone would tell too much: an index
 * of neighbours knows those of each image that is in it. Made-up queries alone may tell too little, as they have no likeness
 * to any image but one (docs/search.md has figures of both).
 */
export async function recallOf(
  sample: readonly Float32Array[],
  texts: readonly Float32Array[] | undefined,
  top: number,
  search: Search,
): Promise<Recall> {
  const images = await partFound(sample, top, search);
  return { images, texts: await partFound(texts ?? sample.map(near), top, search), queries: sample.length, top };
}

async function partFound(queries: readonly Float32Array[], top: number, search: Search): Promise<number> {
  let wanted = 0;
  let found = 0;
  for (const query of queries) {
    const all = await search(query, top, 'exact');
    const some = await search(query, top, 'as fits');
    // Images as near as the last of them are as good an answer.
    const least = (all.at(-1)?.similarity ?? 1) - 1e-6;
    wanted += all.length;
    found += some.filter(({ similarity }) => similarity >= least).length;
  }
  return wanted === 0 ? 1 : found / wanted;
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
