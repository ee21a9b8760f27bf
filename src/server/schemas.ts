// The forms of requests and answers: what is checked, and what /openapi.json says.
import type { output, ZodType } from 'zod';
import { zod } from '../disk/schema.js';
import { counted } from '../logging/text.js';
import { MAX_HITS, MAX_RERANK, MAX_TEXT } from './options.js';

const z = zod();

const text = z
  .string('Give a text')
  .min(1, 'It is empty')
  .max(MAX_TEXT, `It has more than ${MAX_TEXT} characters`)
  .describe('A text. The model reads its first 35 tokens.');
const imageText = z
  .string('Give the image as base64 or a data: URI')
  .describe('An image: base64, or a data: URI such as data:image/jpeg;base64,…. Addresses are not fetched.');
const id = z.string('Give the id of an image').max(4096, 'It is too long').describe('The id of an image of the index.');
const image = z.strictObject({ image: imageText });
const indexed = z.strictObject({ id });
const number = z.number('Give a number');
const when = z.iso.datetime({ offset: true, error: 'Give a time such as 2026-01-31T00:00:00Z' });

const filter = z
  .strictObject({
    prefix: z.string().max(4096).optional().describe('What the id begins with, such as a folder: `2024/`.'),
    contains: z.string().max(4096).optional().describe('What the id contains, in whatever case.'),
    modified_after: when.optional(),
    modified_before: when.optional(),
  })
  .describe('Which images of the index are compared. All that is given must hold.');
export type Filter = output<typeof filter>;

const topOf = number
  .int('Give a whole number')
  .min(1, 'Give 1 or more')
  .max(MAX_HITS, `Give at most ${MAX_HITS}`)
  .describe('How many images to find, 10 by default.');
const k = topOf.default(10);
const rerank = number
  .int('Give a whole number')
  .min(0, 'Give 0 or more')
  .max(MAX_RERANK, `Give at most ${MAX_RERANK}`)
  .default(0)
  .describe('How many of the most similar go through the multimodal encoder with the text, and come first.');

const asList = <T extends ZodType>(item: T, maxBatch: number) =>
  z
    .array(item)
    .min(1, 'It is empty')
    .max(maxBatch, `It has more than ${counted(maxBatch, 'entry')}: --max_batch is the limit`);

export function makeSchemas(maxBatch: number, embedDim: number) {
  const vector = z
    .array(number)
    .length(embedDim, `Give ${embedDim} numbers`)
    .refine((values) => values.some((value) => value !== 0), 'Its numbers are all 0')
    .describe('A feature, as /embed gives it. It is brought to unit length.');
  const feature = z.array(z.number()).describe(`A feature: ${embedDim} numbers, of unit length.`);
  const search = z
    .strictObject({
      text: text.optional(),
      image: imageText.optional(),
      vector: vector.optional(),
      id: id.optional(),
      ...{ k, rerank, filter: filter.optional() },
    })
    .refine(
      ({ text, image, vector, id }) => [text, image, vector, id].filter((each) => each !== undefined).length === 1,
      'Give one of `text`, `image`, `vector` and `id`',
    )
    .refine(({ text, rerank }) => rerank === 0 || text !== undefined, 'Only a search by `text` can be re-ranked');
  const hit = z.object({
    id: z.string(),
    similarity: z.number().describe('ITC: cosine of the features, from -1 to 1.'),
    probability: z.number().optional().describe('ITM: of a match, from 0 to 1. Of images that were re-ranked.'),
    score: z.number().optional().describe('The ITM logit plus the similarity: what the re-ranked are ordered by.'),
  });
  const item = z.union([text, image], 'Give a text or {"image": …}');
  const embed = z.object({
    inputs: z
      .union([item, asList(item, maxBatch)], `Give a text, {"image": …}, or a list of up to ${maxBatch} of them`)
      .describe('A text or {"image": …}, or a list of them.'),
  });
  const reranking = z
    .object({
      query: z
        .union([text, image, indexed], 'Give a text, {"image": …} or {"id": …}')
        .describe('A text for `images`; {"image": …} or {"id": …} for `texts`.'),
      texts: asList(text, maxBatch).optional(),
      images: asList(z.union([imageText, image, indexed]), maxBatch).optional(),
      raw_scores: z
        .boolean()
        .default(false)
        .describe('The ITM logit plus the similarity, by which evaluations rank, instead of the probability.'),
      return_text: z.boolean().default(false),
    })
    .refine(
      ({ query, texts, images }) =>
        typeof query === 'string'
          ? images !== undefined && texts === undefined
          : texts !== undefined && images === undefined,
      'BLIP matches images with texts. Give a text as `query` and `images`, or an image as `query` and `texts`',
    );
  const embeddings = z.object({
    input: z.union([text, imageText, asList(z.string(), maxBatch)], `Give a text, or a list of up to ${maxBatch}`),
    model: z.string().optional().describe('Taken, and given back: there is one model.'),
    modality: z.enum(['text', 'image']).default('text').describe('With `image`, `input` holds data: URIs or base64.'),
    encoding_format: z.enum(['float', 'base64']).default('float').describe('base64: of float32, little-endian.'),
    user: z.string().optional(),
  });
  return {
    text,
    search,
    searchUrl: z.strictObject({ k: z.coerce.number().pipe(topOf).default(10) }),
    searchAnswer: z.object({
      hits: z.array(hit),
      size: z.number().describe('Images of the index.'),
      took_ms: z.number().describe('Milliseconds, waiting for others included.'),
    }),
    embed,
    embedAnswer: z.array(feature),
    rerank: reranking,
    rerankAnswer: z
      .array(z.object({ index: z.number(), score: z.number(), text: z.string().optional() }))
      .describe('Best first; `index` is the place in the request.'),
    embeddings,
    embeddingsAnswer: z.object({
      object: z.literal('list'),
      data: z.array(
        z.object({ object: z.literal('embedding'), index: z.number(), embedding: z.union([feature, z.string()]) }),
      ),
      model: z.string(),
      usage: z.object({ prompt_tokens: z.number(), total_tokens: z.number() }),
    }),
    healthAnswer: z.object({ status: z.literal('ok') }),
    infoAnswer: z.object({
      ...{ name: z.string(), size: z.number(), model: z.string(), device: z.string(), precision: z.string() },
      embed_dim: z.number(),
      image_size: z.number(),
      keeps_tokens: z.boolean(),
      rerank_ms: z.number().nullable().describe('Milliseconds that re-ranking an image took lately.'),
      limits: z.object({ max_body: z.number(), max_batch: z.number(), max_rerank: z.number(), max_k: z.number() }),
    }),
    errorAnswer: z.object({ error: z.string() }),
  };
}

export type Schemas = ReturnType<typeof makeSchemas>;
