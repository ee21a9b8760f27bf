// This program's side of `bench`, a process of its own: one JSON command a line on stdin, one answer a line on stdout.
import { createInterface } from 'node:readline';
import { messageOf } from '../../errors.js';
import { native } from '../../torch/native.js';
import { writeDrawnCheckpoint } from '../drawn-weights.js';
import type { Command } from '../protocol.js';
import { loadTraining, trainSteps } from './train.js';
import { add, load, loadEpoch, open, rerank, timed, transform } from './work.js';

async function answerTo(command: Command): Promise<object> {
  switch (command.op) {
    case 'draw':
      return await timed(() => writeDrawnCheckpoint(command.checkpoint, command));
    case 'load':
      return await timed(() => load(command));
    case 'rerank':
      return await rerank(command);
    case 'load_training':
      return await timed(() => loadTraining(command));
    case 'train':
      return await trainSteps(command);
    case 'open':
      return await timed(() => open(command.checkpoint));
    case 'overhead':
      return await timed(() => add(command.calls));
    case 'transform':
      return await transform(command);
    case 'epoch':
      return { ...(await loadEpoch(command)), versions };
  }
}

const say = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/** The other end is our own `bench`, so commands are what protocol.ts says they are. */
const commandOf = (line: string): Command => JSON.parse(line);

let versions = {};
try {
  native({ cuda: process.argv[2] === 'cuda' });
  versions = { LibTorch: native().version().built };
  say({ ok: true, versions, threads: native().getThreads() });
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      say({ ok: true, ...(await answerTo(commandOf(line))) });
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      say({ ok: false, error: messageOf(error) });
    }
  }
} catch (error) {
  say({ ok: false, error: messageOf(error) });
}
