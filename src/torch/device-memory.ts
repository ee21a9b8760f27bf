// Memory of the machine or of a GPU: what is free, what this process holds, and the most it has held.
import { readFileSync, writeFileSync } from 'node:fs';
import { freemem, totalmem } from 'node:os';
import { gpuIndex } from './cuda.js';
import { native } from './native.js';
import type { Device } from './tensor.js';

/** Bytes behind `name` in a file of /proc, of which the kernel writes kB; undefined where it is not there. */
function procBytes(file: string, name: string): number | undefined {
  try {
    const [, kB] = new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(readFileSync(file, 'utf8')) ?? [];
    return kB === undefined ? undefined : Number(kB) * 1024;
  } catch {
    return undefined;
  }
}

const STATUS = '/proc/self/status';

/** Bytes of addresses that `ulimit -v` leaves to this process; infinite without such a limit. */
function freeAddresses(): number {
  try {
    const [, limit] = /^Max address space\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    const used = procBytes(STATUS, 'VmSize');
    return limit === undefined || used === undefined ? Number.POSITIVE_INFINITY : Math.max(0, Number(limit) - used);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** Bytes that this process could still allocate: what the system has, or what its control group or `ulimit -v` leaves. */
export function freeHostMemory(): number {
  const limit = process.constrainedMemory();
  const used = process.memoryUsage().rss;
  const available = 'availableMemory' in process ? Number(process.availableMemory()) : freemem();
  const free = limit > 0 && limit < totalmem() ? Math.min(available, limit - used) : available;
  return Math.min(free, freeAddresses());
}

/** Bytes that the system could move to its swap. */
export function freeSwap(): number {
  return procBytes('/proc/meminfo', 'SwapFree') ?? 0;
}

/** Bytes that could still be allocated on a GPU: what the driver has, and what LibTorch's allocator holds unused. */
function freeDeviceMemory(gpu: number): number {
  const { free, reserved, allocated } = native().deviceMemory(gpu);
  return free + reserved - allocated;
}

/** Bytes that could still be allocated where `device` keeps its tensors. */
export function freeMemory(device: Device): number {
  const gpu = gpuIndex(device);
  return gpu === undefined ? freeHostMemory() : freeDeviceMemory(gpu);
}

/** What this process may hold in all, if it takes what is free; `memoryMeter` counts alike. */
export function attainableMemory(device: Device): number {
  const gpu = gpuIndex(device);
  if (gpu !== undefined) return freeDeviceMemory(gpu) + native().deviceMemory(gpu).allocated;
  return freeHostMemory() + (procBytes(STATUS, 'RssAnon') ?? process.memoryUsage().rss); // pages of files count as free
}

/**
 * Gives what was freed back to the system. Tensors are freed into the process's heap, where the next ones find them without
 * page faults; but its gaps add up from one phase of a run to the next. Some milliseconds: for the end of a phase.
 */
export function returnFreedMemory(): void {
  native().trimHeap();
}

/** Bytes that this process holds where a device keeps its tensors: for a CPU all its resident memory. */
export interface MemoryMeter {
  now(): number;
  /** The most since the last `reset`; since the process began where the kernel does not let it be reset. */
  peak(): number;
  reset(): void;
}

const hostMeter: MemoryMeter = {
  now: () => process.memoryUsage().rss,
  peak: () => procBytes(STATUS, 'VmHWM') ?? process.resourceUsage().maxRSS * 1024,
  reset: () => {
    try {
      writeFileSync('/proc/self/clear_refs', '5');
    } catch {
      // not every container has it
    }
  },
};

export function memoryMeter(device: Device): MemoryMeter {
  const gpu = gpuIndex(device);
  if (gpu === undefined) return hostMeter;
  return {
    now: () => native().deviceMemory(gpu).allocated,
    peak: () => native().deviceMemory(gpu).peakAllocated,
    reset: () => native().resetPeakMemory(gpu),
  };
}
