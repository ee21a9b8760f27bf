// What was found for a query, best first: for retrieved_<split>.jsonl, and for the few queries that a report shows.
import { relative } from 'node:path';
import type { RetrievalSplit } from '../data/annotations.js';
import { Random } from '../data/random.js';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { schema, type ValueOf } from '../disk/schema.js';
import { at } from '../errors.js';
import type { SplitScores } from './rerank.js';
import type { DirectionRanks } from './similarity-ranks.js';

const Found = schema((z) =>
  z.object({
    /** Index of the text or image in the split. */
    id: z.int(),
    /** The caption; of an image, its path inside image_root. */
    name: z.string(),
    /** Cosine of the features (ITC). */
    similarity: z.number(),
    /** ITM logit of a match plus the similarity: what ranks. */
    score: z.number(),
    isRight: z.boolean(),
  }),
);
export type Found = ValueOf<typeof Found>;

export const Example = schema((z) =>
  z.object({
    kind: z.enum(['worst', 'random']),
    /** The caption, or the image's path inside image_root, that was asked for. */
    query: z.string(),
    /** The right answers: captions, or the image. */
    right: z.array(z.string()),
    /** Of the best right answer, from 1; null for an image without captions. */
    rank: z.int().nullable(),
    found: z.array(Found()),
  }),
);
export type Example = ValueOf<typeof Example>;

type Direction = 'imageToText' | 'textToImage';

/** A split's queries with what was found for them. */
export class Retrieved {
  constructor(
    readonly scores: Pick<SplitScores, 'candidates' | 'slots'>,
    readonly ranks: DirectionRanks,
    readonly split: RetrievalSplit,
    readonly imageRoot: string,
  ) {}

  image(id: number): string {
    return relative(this.imageRoot, at(this.split.images, id));
  }

  query(direction: Direction, id: number): string {
    return direction === 'imageToText' ? this.image(id) : at(this.split.texts, id);
  }

  right(direction: Direction, id: number): number[] {
    const { txt2img, img2txt } = this.split;
    return direction === 'imageToText' ? [...at(img2txt, id)] : [at(txt2img, id)];
  }

  /** From 1. */
  rank(direction: Direction, id: number): number | null {
    const rank = at(this.ranks[direction], id);
    return Number.isFinite(rank) ? rank + 1 : null;
  }

  /** The `most` best of what was re-ranked; of equal scores the higher index first, as in recall.ts. */
  found(direction: Direction, id: number, most: number): Found[] {
    const { candidates, slots } = this.scores;
    const { k, index, similarity } = candidates[direction];
    const first = (direction === 'imageToText' ? id : at(candidates.rowOf, id)) * k;
    const right = new Set(this.right(direction, id));
    const other: Direction = direction === 'imageToText' ? 'textToImage' : 'imageToText';
    return Array.from({ length: k }, (_, slot) => first + slot)
      .map((slot) => ({ id: at(index, slot), slot, score: at(slots[direction], slot) }))
      .sort((a, b) => b.score - a.score || b.id - a.id)
      .slice(0, most)
      .map(({ id: found, slot, score }) => ({
        id: found,
        name: this.query(other, found),
        similarity: rounded(at(similarity, slot)),
        score: rounded(score),
        isRight: right.has(found),
      }));
  }
}

/** Seven digits say what a float32 says. */
const rounded = (value: number) => Number(value.toPrecision(7));

/** Queries of each kind and direction that a report shows. */
export const WORST = 6;
export const RANDOM = 6;
/** Answers of each. */
export const SHOWN = 5;

/** Captions and images to show: those with the worst rank, and a sample of the rest that `seed` draws. */
export function chooseExamples(retrieved: Retrieved, seed: number): { captions: Example[]; images: Example[] } {
  const choose = (direction: Direction): Example[] => {
    const queries = Array.from(retrieved.ranks[direction].keys()).filter(
      (id) => retrieved.rank(direction, id) !== null, // no rank without a right answer
    );
    const byRank = [...queries].sort((a, b) => at(retrieved.ranks[direction], b) - at(retrieved.ranks[direction], a));
    // One caption of an image: the others tell the same.
    const seen = new Set<number>();
    const worst = byRank
      .filter((id) => {
        const [image = id] = direction === 'textToImage' ? retrieved.right(direction, id) : [id];
        return at(retrieved.ranks[direction], id) > 0 && !seen.has(image) && seen.add(image);
      })
      .slice(0, WORST);
    const rest = queries.filter((id) => !worst.includes(id));
    const drawn = new Random(seed);
    const random: number[] = [];
    while (random.length < RANDOM && rest.length > 0) random.push(...rest.splice(drawn.below(rest.length), 1));
    const example = (kind: Example['kind']) => (id: number) => ({
      kind,
      query: retrieved.query(direction, id),
      right: retrieved
        .right(direction, id)
        .map((answer) => retrieved.query(direction === 'imageToText' ? 'textToImage' : 'imageToText', answer)),
      rank: retrieved.rank(direction, id),
      found: retrieved.found(direction, id, SHOWN),
    });
    return [...worst.map(example('worst')), ...random.map(example('random'))];
  };
  return { captions: choose('textToImage'), images: choose('imageToText') };
}

/** Answers of each query in retrieved_<split>.jsonl. */
const LISTED = 10;

/**
 * Writes a JSON line for each query, images first: its direction, id, what was asked, the right answers' ids, the rank of
 * the best of them from 1, and the ten best answers with both scores. @throws UserError where the file cannot be written
 */
export async function writeRetrieved(path: string, retrieved: Retrieved): Promise<void> {
  await writeFileAtomically(path, async (file) => {
    for (const direction of ['imageToText', 'textToImage'] as const)
      for (const id of retrieved.ranks[direction].keys()) {
        const line = {
          direction: direction === 'imageToText' ? 'image_to_text' : 'text_to_image',
          id,
          query: retrieved.query(direction, id),
          right: retrieved.right(direction, id),
          rank: retrieved.rank(direction, id),
          found: retrieved.found(direction, id, LISTED),
        };
        await file.write(Buffer.from(`${JSON.stringify(line)}\n`));
      }
  });
}
