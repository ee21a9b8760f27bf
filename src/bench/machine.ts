// What a figure must be read with: the day, the processor, its load, and the versions of what ran.
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

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
    load: loadavg()[0] ?? 0,
    node: process.versions.node,
  };
}

/** One line about the machine and the versions, for the head of a table. */
export function machineLine(of: Machine, versions: Readonly<Record<string, string>>): string {
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [of.date, `${of.cpu}, ${of.cores} cores`, `load ${of.load.toFixed(1)}`, `Node ${of.node}`, ...named].join(
    '; ',
  );
}
