// Preloaded into the command line under test, which then decodes images on one thread, as on a machine with one processor:
// to start a second thread costs more than a small run has to decode. What several threads do is in test/data/loader;
// test/examples, test/package and test/cli/evaluate run with as many as there are processors.
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';

Object.assign(os, { availableParallelism: () => 1 });
syncBuiltinESMExports();
