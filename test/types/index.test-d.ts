// What a TypeScript user of the Retriever sees; checked by tsd in scripts/check-package.mjs.
import { expectAssignable, expectNotAssignable, expectType } from 'tsd';
import { type ImageInput, type Match, Retriever, type RetrieverOptions, UserError } from '../../dist/index.js';

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
