// The thread of compare.ts.
import { workerData } from 'node:worker_threads';
import { compareHere } from './compare.js';

// Only compareAll starts it.
compareHere(workerData);
