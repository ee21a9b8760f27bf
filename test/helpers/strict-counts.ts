// What the stand-in for CUDA has counted in this process: see test/strict-cuda/report.cc.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '#blip/torch/native.js';

export interface StrictReport {
  counts: Record<string, number>;
  /** Shapes of 16-bit attention for each of which cuDNN would have built a plan. */
  attentionShapes: number;
}

/** Everything that was counted up to now. Waits for the device, which is counted too. */
export function strictReport(): StrictReport {
  const folder = mkdtempSync(join(tmpdir(), 'blip-strict-'));
  const before = process.env.STRICT_CUDA_REPORT;
  process.env.STRICT_CUDA_REPORT = join(folder, 'report.json');
  try {
    native().synchronize(0);
    return JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'));
  } finally {
    if (before === undefined) delete process.env.STRICT_CUDA_REPORT;
    else process.env.STRICT_CUDA_REPORT = before;
    rmSync(folder, { recursive: true });
  }
}

/** How often the host met the device, in one repetition of some work. */
export interface Meetings {
  /** The host waited: for an event, a copy, a check of an operator. */
  waits: number;
  /** Copies to the device, whether somebody waited or not. */
  uploads: number;
  /** Copies from the device that nobody waited for at once. */
  readings: number;
  operators: number;
}

function meetings({ counts }: StrictReport): Meetings {
  const total = (names: RegExp) =>
    Object.entries(counts).reduce((sum, [name, count]) => (names.test(name) ? sum + count : sum), 0);
  return {
    waits: total(/^(wait|read)\.|\.blocking$/),
    uploads: total(/^upload\./),
    readings: total(/^download\.pinned$/),
    operators: total(/^operators$/),
  };
}

/** What one repetition costs: of twice as many less what as many cost, so that beginning and end cancel. */
export async function eachOf(repetitions: number, run: (repetitions: number) => unknown): Promise<Meetings> {
  const cost = async (times: number) => {
    const before = meetings(strictReport());
    await run(times);
    return { before, after: meetings(strictReport()) };
  };
  const [one, two] = [await cost(repetitions), await cost(2 * repetitions)];
  const each = (name: keyof Meetings) =>
    (two.after[name] - two.before[name] - (one.after[name] - one.before[name])) / repetitions;
  return { waits: each('waits'), uploads: each('uploads'), readings: each('readings'), operators: each('operators') };
}
