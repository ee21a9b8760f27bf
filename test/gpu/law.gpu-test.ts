// What is random on a GPU, where other kernels and another generator do the dropping: the law tests of test/law there.
import { cudaState } from '#blip/torch/cuda.js';
import { testClosedForm, testNegatives, testReferenceTraining } from '../helpers/law-checks.js';

const { count, problem } = cudaState();
const skip = count > 0 ? (false as const) : `no GPU: ${problem}`;

testNegatives({ device: 'cuda:0', precision: 'fp32', skip });
for (const precision of ['fp32', 'bf16'] as const) {
  testClosedForm({ device: 'cuda:0', precision, skip });
  testReferenceTraining({ device: 'cuda:0', precision, skip });
}
