// What a figure must be read with: the day, the processor, its load, and the versions of what ran.
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { at } from '../errors.js';

export interface Machine {
  /** Day, ISO. */
  date: string;
  cpu: string;
  cores: number;
  memory_bytes: number;
  /** Load of the last minute before the measurement: above 0.5 on a machine that should have been idle. */
  load: number;
  node: string;
}

export function machine(): Machine {
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    load: at(loadavg(), 0),
    node: process.versions.node,
  };
}
