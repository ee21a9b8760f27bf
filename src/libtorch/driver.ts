// Whether this machine has an NVIDIA driver, how old it is, and so which build of LibTorch suits it.
import { existsSync, readFileSync } from 'node:fs';
import { systemHas } from './elf.js';

export type Variant = 'cpu' | 'cu126' | 'cu130';

export interface Driver {
  /** `580.65`; undefined where only the library shows that there is a driver. */
  version: string | undefined;
  /** What was seen, for the line that explains a choice. */
  seen: string;
}

/** The NVIDIA driver as the kernel or the linker shows it, or undefined. Runs nothing. */
export function nvidiaDriver(proc = '/proc/driver/nvidia/version'): Driver | undefined {
  if (existsSync(proc)) {
    const version = /\s(\d{3,}\.\d+(?:\.\d+)?)\s/.exec(readFileSync(proc, 'utf8'))?.[1];
    return { version, seen: version === undefined ? `${proc} exists` : `NVIDIA driver ${version}` };
  }
  const library = 'libcuda.so.1';
  if (systemHas(library) || existsSync(`/usr/lib/wsl/lib/${library}`)) {
    return { version: undefined, seen: `${library} is installed` };
  }
  return undefined;
}

/** The variant that a driver can run: CUDA 13 needs release 580, older ones run CUDA 12.6. */
export function variantFor(driver: Driver | undefined): Variant {
  return driver?.version !== undefined && Number.parseInt(driver.version, 10) < 580 ? 'cu126' : 'cu130';
}
