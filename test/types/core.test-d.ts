// What a TypeScript user of the package sees; checked by tsd in scripts/check-package.mjs.
import { expectAssignable, expectNotAssignable, expectType } from 'tsd';
import {
  BlipRetrieval,
  decodeRgb,
  IMAGE_MEAN,
  ImageLoader,
  itmEval,
  preCaption,
  type RetrievalMetrics,
  type RgbImage,
  readSafetensorsMetadata,
  Tensor,
  TrainingModel,
  UserError,
} from '../../dist/core.js';

const error = new UserError('what, where, what to do', { exitCode: 2 });
expectAssignable<Error>(error);
expectType<1 | 2>(error.exitCode);
type ErrorOptions = ConstructorParameters<typeof UserError>[1];
expectAssignable<ErrorOptions>({ exitCode: 1 as const });
expectNotAssignable<ErrorOptions>({ exitCode: 3 as const });
expectNotAssignable<ConstructorParameters<typeof UserError>[0]>(undefined);

expectType<string>(preCaption('A cat.', 30));
expectNotAssignable<Parameters<typeof preCaption>[0]>(5);

const scores = new Float32Array(4);
const metrics = itmEval(scores, scores, Int32Array.of(0, 1), [[0], [1]]);
expectType<RetrievalMetrics>(metrics);
expectType<number>(metrics.r_mean);
expectAssignable<Parameters<typeof itmEval>[0]>(scores);
expectNotAssignable<Parameters<typeof itmEval>[0]>([[0.5]]);

expectType<Promise<RgbImage>>(decodeRgb(Buffer.alloc(1)));
expectType<readonly [0.48145466, 0.4578275, 0.40821073]>(IMAGE_MEAN);
expectType<Map<string, string>>(readSafetensorsMetadata('a.safetensors'));
// What has memory of its own can stand in `using`.
expectAssignable<Disposable>(BlipRetrieval.prototype);
expectAssignable<Disposable>(TrainingModel.prototype);
expectAssignable<Disposable>(ImageLoader.prototype);
expectAssignable<Disposable>(Tensor.prototype);
