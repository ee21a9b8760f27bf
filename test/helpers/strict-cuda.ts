// The stand-in for CUDA of test/strict-cuda: whether this process has it, and what it has counted.
import { join } from 'node:path';
import { native } from '#blip/torch/native.js';
import { temporaryFolder } from './files.js';
import { readJson } from './tensors.js';

/** `skip` of a test that needs the stand-in. */
export const noStandIn = process.env.STRICT_CUDA_DEVICES
  ? false
  : 'needs the stand-in for CUDA: npm run test:cuda-strict';

/** What the devices did, by the names that test/strict-cuda/report.cc lists. */
export interface DeviceWork {
  counts: Record<string, number>;
  /** Shapes of 16-bit attention for each of which cuDNN would have built a plan, and that had not been met before. */
  attentionShapes: number;
}

const folder = temporaryFolder();

/** What has been counted since the process began. Waits for all devices' work. */
function readReport(): DeviceWork {
  const path = join(folder, 'counts.json');
  process.env.STRICT_CUDA_REPORT = path;
  native().synchronize(0);
  return readJson<DeviceWork>(path);
}

/** What `work` had the devices do. */
export async function countWork(work: () => void | Promise<void>): Promise<DeviceWork> {
  const before = readReport();
  await work();
  const after = readReport();
  const counts: Record<string, number> = {};
  for (const [name, count] of Object.entries(after.counts)) {
    const own = name === 'wait.synchronizeDevice' ? 1 : 0; // the second report's
    const more = count - (before.counts[name] ?? 0) - own;
    if (more > 0) counts[name] = more;
  }
  return { counts, attentionShapes: after.attentionShapes - before.attentionShapes };
}

/** How often the host waited for a device: uploads that are not from pinned memory, reads, and waits by name. */
export function waitsOf({ counts }: DeviceWork): number {
  const waits = Object.entries(counts).filter(([name]) =>
    /^(upload\.(blocking|pageable)|download\.blocking|read\..+|wait\..+)$/.test(name),
  );
  return waits.reduce((sum, [, count]) => sum + count, 0);
}

/** How often the host met the device, in one repetition of some work. */
export interface Meetings {
  waits: number;
  /** Copies to the device, and from it without a wait at once. */
  uploads: number;
  readings: number;
  operators: number;
}

/** What one repetition costs: of twice as many less what as many cost, so that beginning and end cancel. */
export async function eachOf(
  repetitions: number,
  run: (repetitions: number) => void | Promise<void>,
): Promise<Meetings> {
  const meetings = (work: DeviceWork): Meetings => {
    const total = (prefix: string) =>
      Object.entries(work.counts).reduce((sum, [name, count]) => (name.startsWith(prefix) ? sum + count : sum), 0);
    const operators = work.counts.operators ?? 0;
    return { waits: waitsOf(work), uploads: total('upload.'), readings: total('download.pinned'), operators };
  };
  const once = meetings(await countWork(() => run(repetitions)));
  const twice = meetings(await countWork(() => run(2 * repetitions)));
  const each = (name: keyof Meetings) => (twice[name] - once[name]) / repetitions;
  return { waits: each('waits'), uploads: each('uploads'), readings: each('readings'), operators: each('operators') };
}
