// What a TypeScript user of the Retriever sees; checked by tsd in scripts/check-package.mjs.
import { expectAssignable, expectNotAssignable, expectType } from 'tsd';
import {
  type Hit,
  type ImageIndex,
  type ImageInput,
  type Match,
  type Query,
  Retriever,
  type RetrieverOptions,
  type SyncReport,
  UserError,
} from '../../dist/index.js';

expectAssignable<Error>(new UserError('what, where, what to do'));
expectAssignable<RetrieverOptions>({ device: 'cuda:1', precision: 'bf16', threads: 2, signal: AbortSignal.timeout(1) });
expectNotAssignable<RetrieverOptions>({ device: 'gpu' });
expectNotAssignable<RetrieverOptions>({ batch_size: 8 });
expectAssignable<ImageInput>(Buffer.alloc(1));
expectAssignable<ImageInput>(new URL('file:///cat.jpg'));
expectNotAssignable<ImageInput>(5);

const blip = await Retriever.open('coco-base');
expectAssignable<AsyncDisposable>(blip);
expectType<Float32Array>(await blip.embedImage('cat.jpg'));
expectType<Float32Array[]>(await blip.embedTexts(['a cat']));
expectType<Match>(await blip.match('cat.jpg', 'a cat'));
expectType<Match[]>(await blip.match('cat.jpg', ['a cat']));

const index = await blip.createIndex('photos/', {
  include: ['**/*.jpg', '!raw/**'],
  onBadImage: ({ id, reason }) => console.log(id, reason),
  signal: AbortSignal.timeout(1),
});
expectAssignable<AsyncDisposable>(index);
expectType<ImageIndex>(index);
expectType<ImageIndex>(await blip.openIndex('photos.index'));
const [hit] = await index.search('a cat', { top: 5, rerank: 2, filter: ({ size = 0 }) => size > 1000 });
expectType<Hit | undefined>(hit);
expectAssignable<number | undefined>(hit?.probability);
expectType<Hit[]>(await index.search({ image: Buffer.alloc(1) }));
expectType<SyncReport>(await index.sync({ onBadImage: 'skip' }));
expectNotAssignable<Query>({ text: 'a cat', id: 5 });
expectNotAssignable<Query>({ vector: [1, 2] });
