// /openapi.json: made from the schemas that requests are checked with.
import type { ZodType } from 'zod';
import { zod } from '../disk/schema.js';
import type { Schemas } from './schemas.js';

interface Described {
  path: string;
  method: 'get' | 'post';
  summary: string;
  body?: ZodType;
  answer?: ZodType;
  /** Of an answer that is no JSON. */
  type?: string;
  /** Parameters of the address, and whether one must be there. */
  parameters?: Readonly<Record<string, string>>;
  takesImage?: boolean;
}

const ERRORS = {
  400: 'The request will not do; the sentence says why.',
  401: 'The token is missing or wrong.',
  413: 'The body is too large.',
  429: 'Too many requests are before this one; Retry-After says when to try again.',
  503: 'The server stops, has no memory left, or was too slow.',
};

function described(schemas: Schemas): Described[] {
  const id = { id: 'The id of an image of the index.' };
  return [
    {
      path: '/search',
      method: 'post',
      summary: 'The most similar images. The body may also be an image itself, with `k` in the address.',
      body: schemas.search,
      answer: schemas.searchAnswer,
      takesImage: true,
    },
    {
      path: '/embed',
      method: 'post',
      summary: 'Features of texts and images, as text-embeddings-inference has it.',
      body: schemas.embed,
      answer: schemas.embedAnswer,
    },
    {
      path: '/rerank',
      method: 'post',
      summary: 'Matches images with a text, or texts with an image (ITM), best first.',
      body: schemas.rerank,
      answer: schemas.rerankAnswer,
    },
    {
      path: '/v1/embeddings',
      method: 'post',
      summary: 'Features, as the OpenAI API has it.',
      body: schemas.embeddings,
      answer: schemas.embeddingsAnswer,
    },
    {
      path: '/thumbnail',
      method: 'get',
      summary: 'An image of the index, at most 480 pixels wide and high.',
      parameters: id,
      type: 'image/*',
    },
    { path: '/image', method: 'get', summary: 'The file of an image of the index.', parameters: id, type: 'image/*' },
    { path: '/info', method: 'get', summary: 'The index, the model, and the limits.', answer: schemas.infoAnswer },
    { path: '/health', method: 'get', summary: 'Whether the server answers.', answer: schemas.healthAnswer },
    { path: '/metrics', method: 'get', summary: "Counts and times, in Prometheus' format.", type: 'text/plain' },
  ];
}

export function openApi(schemas: Schemas, version: string, hasToken: boolean): object {
  const json = (schema: ZodType, io: 'input' | 'output') => {
    const { $schema: _, ...rest } = zod().toJSONSchema(schema, { io, unrepresentable: 'any' });
    return { content: { 'application/json': { schema: rest } } };
  };
  const failure = json(schemas.errorAnswer, 'output');
  const errors = Object.fromEntries(
    Object.entries(ERRORS).map(([status, description]) => [status, { description, ...failure }]),
  );
  const paths = described(schemas).map(({ path, method, summary, body, answer, type, parameters, takesImage }) => {
    const content =
      answer === undefined ? { content: { [type ?? 'text/plain']: { schema: {} } } } : json(answer, 'output');
    const request = body && json(body, 'input');
    if (request && takesImage === true) Object.assign(request.content, { 'image/*': { schema: {} } });
    const operation = {
      summary,
      operationId: path.slice(1).replaceAll('/', '_'),
      ...(request && { requestBody: { required: true, ...request } }),
      ...(parameters && {
        parameters: Object.entries(parameters).map(([name, description]) => ({
          ...{ name, in: 'query', required: true, description, schema: { type: 'string' } },
        })),
      }),
      responses: { 200: { description: 'Done.', ...content }, ...errors },
      ...(path === '/health' && { security: [] }),
    };
    return [path, { [method]: operation }] as const;
  });
  return {
    openapi: '3.1.0',
    info: { title: 'blip-retrieval', version, description: 'Image search by text or image, re-ranked by BLIP (ITM).' },
    paths: Object.fromEntries(paths),
    ...(hasToken && {
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    }),
  };
}
