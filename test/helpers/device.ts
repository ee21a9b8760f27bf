// The device of tests that run on any: the CPU, or what BLIP_TEST_DEVICE says (`cuda`).
import { type TestFn, test } from 'node:test';
import type { Device } from '#blip/torch/tensor.js';

export const testDevice = process.env.BLIP_TEST_DEVICE ?? 'cpu';

/** The device of one of several ranks: each has a GPU of its own. */
export function deviceOfRank(rank: number): Device {
  return testDevice === 'cpu' ? 'cpu' : `cuda:${rank}`;
}

/** `test` for what no device takes part in: on a GPU, or on the stand-in for one, it would repeat what the CPU has shown. */
export const hostTest: (name: string, body: TestFn) => Promise<void> = testDevice === 'cpu' ? test : async () => {};
