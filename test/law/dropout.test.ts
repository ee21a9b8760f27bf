// Dropout and drop path: each place drops at its rate and scales what it keeps, in a model where each shows alone.
// Covers model/text-encoder, vision-transformer, training-model in training.
import { testClosedForm } from '../helpers/law-checks.js';

testClosedForm({ device: 'cpu', precision: 'fp32' });
testClosedForm({ device: 'cpu', precision: 'bf16' });
