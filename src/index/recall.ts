// Which part of the nearest images a search finds that does not compare all.

/** Of the `top` nearest images of each of `queries` images of the index, the part that was found: from 0 to 1. */
export interface Recall {
  readonly recall: number;
  readonly queries: number;
  readonly top: number;
}

type Search = (
  feature: Float32Array,
  k: number,
  kind: 'as fits' | 'exact',
) => Promise<{ id: string; similarity: number }[]>;

/** Searches twice for each: as searches go, and by comparing all. An image's finding of itself does not count. */
export async function recallOf(
  sample: readonly { id: string; feature: Float32Array }[],
  top: number,
  search: Search,
): Promise<Recall> {
  let wanted = 0;
  let found = 0;
  for (const { id, feature } of sample) {
    const others = async (kind: 'as fits' | 'exact') =>
      (await search(feature, top + 1, kind)).filter((neighbour) => neighbour.id !== id).slice(0, top);
    const all = await others('exact');
    const some = await others('as fits');
    // Images as near as the last of them are as good an answer.
    const least = (all.at(-1)?.similarity ?? 0) - 1e-6;
    wanted += all.length;
    found += some.filter(({ similarity }) => similarity >= least).length;
  }
  return { recall: wanted === 0 ? 1 : found / wanted, queries: sample.length, top };
}
