// This program's side of `bench`, a process of its own: one JSON command a line on stdin, one answer a line on stdout.
import { createInterface } from 'node:readline';
import { messageOf, UserError } from '../../errors.js';
import type { BlipRetrieval } from '../../model/blip-retrieval.js';
import { native } from '../../torch/native.js';
import { writeDrawnCheckpoint } from '../drawn-weights.js';
import type { Command, Memory } from '../protocol.js';
import { loadEpoch } from './loader.js';
import { loadTraining, type OwnTraining, trainSteps } from './train.js';
import { add, loadModel, open, rerank, timed, transform } from './work.js';

let model: BlipRetrieval | undefined;
let training: OwnTraining | undefined;

async function answerTo(command: Command): Promise<object> {
  switch (command.op) {
    case 'draw':
      return await timed(() => writeDrawnCheckpoint(command.checkpoint, command));
    case 'load':
      return await timed(async () => {
        model = await loadModel(command);
      });
    case 'rerank':
      if (model === undefined) throw new UserError('No model is loaded. Load a model before re-ranking.');
      return { seconds: await rerank(model, command), memory: peakMemory(model.device) };
    case 'load_training':
      return await timed(async () => {
        training = await loadTraining(command);
      });
    case 'train':
      if (training === undefined) throw new UserError('No model is loaded. Load a model for training before training.');
      return { ...(await trainSteps(training, command)), memory: peakMemory(training.model.device) };
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

function peakMemory(device: string): Memory {
  const peak = { peak_bytes: process.resourceUsage().maxRSS * 1024 };
  return device.startsWith('cuda') ? { ...peak, device_peak_bytes: native().deviceMemory(0).peakAllocated } : peak;
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
