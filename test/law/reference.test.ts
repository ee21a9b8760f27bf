// Training steps with all that is random in them: means and variances against the reference's over 4,000 draws.
// Covers model/training-model, text-encoder, vision-transformer.
import { testReferenceTraining } from '../helpers/law-checks.js';

testReferenceTraining({ device: 'cpu', precision: 'fp32' });
