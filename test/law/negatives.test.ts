// Hard negatives: for texts and for images, how often each candidate is drawn.
import { testNegatives } from '../helpers/law-checks.js';

testNegatives({ device: 'cpu', precision: 'fp32' });
