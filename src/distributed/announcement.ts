// What ranks tell each other when they meet: where they compute. Ranks on a GPU exchange over NCCL and those on a CPU over
// Gloo, so a group of both would wait for ever.
import { hostname } from 'node:os';
import { isRecord, UserError } from '../errors.js';
import type { Device } from '../torch/tensor.js';

interface Announcement {
  device: string;
  host: string;
}

/** What this rank tells the others. */
export function announcementOf(device: Device): string {
  const own: Announcement = { device, host: hostname() };
  return JSON.stringify(own);
}

/**
 * What is wrong with a group in which some ranks compute on GPUs and others on CPUs; undefined where all do the same.
 * `announcements` are those of all ranks, in rank order; null of a rank that is not of this program, which is left alone.
 */
export function differentDevices(announcements: readonly (string | null)[]): UserError | undefined {
  const told = announcements.flatMap((text, rank) => {
    const value: unknown = text === null ? undefined : JSON.parse(text);
    return isRecord(value) ? [{ rank, onCpu: value.device === 'cpu', host: String(value.host) }] : [];
  });
  const onCpu = told.filter((one) => one.onCpu);
  const onGpu = told.filter((one) => !one.onCpu);
  const [first] = onCpu;
  const [other] = onGpu;
  if (first === undefined || other === undefined) return undefined;
  const more = onCpu.length === 1 ? '' : ` (and ${onCpu.length - 1} more)`;
  const verb = onCpu.length === 1 ? 'computes' : 'compute';
  return new UserError(
    `Rank ${first.rank} on ${first.host}${more} ${verb} on the CPU, but rank ${other.rank} on ${other.host} on a GPU, and all must do the same. Choose \`device\` cpu for all, or cuda: a rank that has no GPU then says why.`,
  );
}
