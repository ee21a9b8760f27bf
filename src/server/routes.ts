// What the server does at each of its computing routes.
import { at } from '../errors.js';
import type { IndexedImage } from '../index/store.js';
import { checked, imageBytes, parseJson } from './body.js';
import type { ImageFiles } from './files.js';
import { HttpError, imageOfClient } from './http-error.js';
import type { RerankCost } from './rerank-cost.js';
import type { Filter, Schemas } from './schemas.js';
import type { SearchQuery, Service } from './service.js';

export interface ApiRequest {
  body: Buffer;
  /** Without parameters: `image/jpeg`. */
  contentType: string;
  query: URLSearchParams;
  /** Aborted when the client has gone, or the time is over. */
  signal: AbortSignal;
}

export interface ApiParts {
  service: Service;
  schemas: Schemas;
  files: ImageFiles;
  cost: RerankCost;
}

export type ApiHandler = (request: ApiRequest, parts: ApiParts) => Promise<unknown>;

/** Images of one request that are matched with its text at a time. */
const MATCHES = 4;

export const search: ApiHandler = async (request, { service, schemas, cost }) => {
  const { signal } = request;
  const start = performance.now();
  const { query, top, rerank, filter } = await searchOf(request, service, schemas);
  if ('id' in query && (await service.index.get(query.id)) === undefined)
    throw new HttpError(404, 'The index has no image of this id. Take one that a search gave.');
  const options = { top, rerank, signal, ...(filter !== undefined && { filter: makeFilter(filter) }) };
  const hits = await service.index.search(query, options);
  const took = performance.now() - start;
  cost.saw(hits.filter(({ probability }) => probability !== undefined).length, took);
  return {
    hits: hits.map(({ path: _path, ...hit }) => hit), // where a file lies is the server's matter
    size: service.index.size,
    took_ms: Math.round(took * 10) / 10,
  };
};

/** The search of a JSON body; or of the image that is the body, with `k` in the address. */
async function searchOf(request: ApiRequest, { model }: Service, schemas: Schemas) {
  const { body, contentType, query: parameters, signal } = request;
  const vectorOf = async (bytes: Uint8Array): Promise<SearchQuery> => {
    const [vector] = await imageOfClient(() => model.embedImages([bytes], { signal }));
    if (vector === undefined) throw new TypeError('Expected a feature.');
    return { vector };
  };
  if (contentType.startsWith('image/') || contentType === 'application/octet-stream') {
    const { k } = checked(schemas.searchUrl, Object.fromEntries(parameters));
    if (body.length === 0) throw new HttpError(400, 'The body is empty. Send an image, or JSON.');
    return { query: await vectorOf(body), top: k, rerank: 0, filter: undefined };
  }
  const { text, image, vector, id, k, rerank, filter } = await parseJson(body, schemas.search);
  const common = { top: k, rerank, filter };
  if (text !== undefined) return { query: { text }, ...common };
  if (image !== undefined) return { query: await vectorOf(await imageBytes(image, 'image')), ...common };
  if (vector !== undefined) return { query: { vector: Float32Array.from(vector) }, ...common };
  if (id !== undefined) return { query: { id }, ...common };
  throw new TypeError('The schema of searches demands a query.');
}

function makeFilter({ prefix, contains, modified_after: after, modified_before: before }: Filter) {
  const part = contains?.toLowerCase();
  const [from, to] = [after, before].map((time) => (time === undefined ? undefined : Date.parse(time)));
  return ({ id, modified }: IndexedImage) =>
    (prefix === undefined || id.startsWith(prefix)) &&
    (part === undefined || id.toLowerCase().includes(part)) &&
    (from === undefined || (modified !== undefined && modified > from)) &&
    (to === undefined || (modified !== undefined && modified < to));
}

export const embed: ApiHandler = async ({ body, signal }, { service, schemas }) => {
  const { inputs } = await parseJson(body, schemas.embed);
  const list = Array.isArray(inputs) ? inputs : [inputs];
  const images: Uint8Array[] = [];
  const texts: string[] = [];
  for (const [i, item] of list.entries())
    if (typeof item === 'string') texts.push(item);
    else images.push(await imageBytes(item.image, `inputs.${i}.image`));
  const [ofTexts, ofImages] = await embedBoth(service, texts, images, signal);
  let [text, image] = [0, 0];
  return list.map((item) => [...(typeof item === 'string' ? at(ofTexts, text++) : at(ofImages, image++))]);
};

function embedBoth({ model }: Service, texts: string[], images: Uint8Array[], signal: AbortSignal) {
  return Promise.all([
    texts.length === 0 ? [] : model.embedTexts(texts, { signal }),
    images.length === 0 ? [] : imageOfClient(() => model.embedImages(images, { signal })),
  ]);
}

/** TEI's form. Here a text is matched with images, or an image with texts. */
export const rerank: ApiHandler = async ({ body, signal }, parts) => {
  const { service, schemas } = parts;
  const { query, texts, images, raw_scores: isRaw, return_text: withText } = await parseJson(body, schemas.rerank);
  const scoreOf = ({ probability, score }: { probability: number; score: number }) => (isRaw ? score : probability);
  const match = async (image: string | { image: string } | { id: string }, name: string, of: readonly string[]) => {
    const given = await imageOf(image, name, parts);
    return imageOfClient(() => service.model.match(given, of, { signal }));
  };
  let scores: number[];
  if (typeof query === 'string') {
    const list = images ?? [];
    scores = new Array<number>(list.length);
    const waiting = list.entries();
    const worker = async () => {
      for (const [i, image] of waiting) {
        signal.throwIfAborted();
        const [matched] = await match(image, `images.${i}`, [query]);
        if (matched !== undefined) scores[i] = scoreOf(matched);
      }
    };
    await Promise.all(Array.from({ length: Math.min(MATCHES, list.length) }, worker));
  } else scores = (await match(query, 'query', texts ?? [])).map(scoreOf);
  return scores
    .map((score, index) => ({ index, score, ...(withText && texts && { text: at(texts, index) }) }))
    .sort((a, b) => b.score - a.score || a.index - b.index);
};

async function imageOf(image: string | { image: string } | { id: string }, name: string, { files }: ApiParts) {
  if (typeof image === 'string') return imageBytes(image, name);
  if ('image' in image) return imageBytes(image.image, `${name}.image`);
  return (await files.find(image.id)).path;
}

/** OpenAI's form, with infinity's `modality`. */
export const embeddings: ApiHandler = async ({ body, signal }, { service, schemas }) => {
  const request = await parseJson(body, schemas.embeddings);
  const list = Array.isArray(request.input) ? request.input : [request.input];
  const isImages = request.modality === 'image';
  const texts = isImages ? [] : list.map((text) => checked(schemas.text, text));
  const images: Uint8Array[] = [];
  if (isImages) for (const [i, text] of list.entries()) images.push(await imageBytes(text, `input.${i}`));
  const features = (await embedBoth(service, texts, images, signal)).flat();
  const shown = (feature: Float32Array) =>
    request.encoding_format === 'float'
      ? [...feature]
      : Buffer.from(feature.buffer, feature.byteOffset, feature.byteLength).toString('base64');
  return {
    object: 'list',
    data: features.map((feature, index) => ({ object: 'embedding', index, embedding: shown(feature) })),
    model: request.model ?? service.model.source,
    usage: { prompt_tokens: 0, total_tokens: 0 }, // nobody pays by the token here
  };
};
