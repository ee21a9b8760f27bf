// This program's side of `bench`, a process of its own: one JSON command a line on stdin, one answer a line on stdout.
import { createInterface } from 'node:readline';
import { messageOf } from '../../errors.js';
import { native } from '../../torch/native.js';
import { writeDrawnCheckpoint } from '../drawn-weights.js';
import type { Command, Commands, Op } from '../protocol.js';
import { measure } from './measure.js';
import { join, ranks } from './place.js';
import { loadTraining, trainSteps } from './train.js';
import { add, load, loadEpoch, open, rerank, timed, transform, trial } from './work.js';

let versions = {};

const works: { [O in Op]: (command: Commands[O]) => object | Promise<object> } = {
  draw: (command) => timed(() => writeDrawnCheckpoint(command.checkpoint, command)),
  load: (command) => timed(() => load(command)),
  rerank,
  measure,
  trial,
  load_training: (command) => timed(() => loadTraining(command)),
  train: trainSteps,
  open: ({ checkpoint }) => timed(() => open(checkpoint)),
  overhead: ({ calls }) => timed(() => add(calls)),
  transform,
  epoch: async (command) => ({ ...(await loadEpoch(command)), versions }),
};
const answerTo = <O extends Op>(command: Command<O>) => works[command.op](command);

const say = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);

async function answerWith(work: () => object | Promise<object>): Promise<void> {
  try {
    say({ ok: true, ...(await work()) });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    say({ ok: false, error: messageOf(error) });
  }
}

await answerWith(() => {
  native({ cuda: process.argv[2] === 'cuda' });
  join(process.argv.slice(3));
  versions = { LibTorch: native().version().built };
  return { versions, threads: native().getThreads() };
});
// The other end is our own `bench`, so commands are what protocol.ts says they are.
for await (const line of createInterface({ input: process.stdin })) await answerWith(() => answerTo(JSON.parse(line)));
ranks().destroy(5_000);
