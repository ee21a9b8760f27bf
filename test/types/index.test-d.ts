// What a TypeScript user of the package sees; checked by tsd in scripts/check-package.mjs.
import { expectAssignable, expectNotAssignable, expectType } from 'tsd';
import { itmEval, preCaption, type RetrievalMetrics, UserError } from '../../dist/index.js';

const error = new UserError('what, where, what to do', { exitCode: 2 });
expectAssignable<Error>(error);
expectType<1 | 2>(error.exitCode);
type ErrorArguments = ConstructorParameters<typeof UserError>;
expectNotAssignable<ErrorArguments>(['text', { exitCode: 3 }]);
expectNotAssignable<ErrorArguments>([]);

expectType<string>(preCaption('A cat.', 30));
expectNotAssignable<Parameters<typeof preCaption>>([5]);

const scores = new Float32Array(4);
const metrics = itmEval(scores, scores, Int32Array.of(0, 1), [[0], [1]]);
expectType<RetrievalMetrics>(metrics);
expectType<number>(metrics.r_mean);
expectNotAssignable<Parameters<typeof itmEval>>([[[0.5]], scores, Int32Array.of(0), [[0]]]);
