// Whether this machine has an NVIDIA driver, how old it is, and so which build of LibTorch suits it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemHas } from './elf.js';

export type Variant = 'cpu' | 'cu126' | 'cu130';

export interface Driver {
  /** `580.65`; undefined where only the library shows that there is a driver. */
  version: string | undefined;
  /** What was seen, for the line that explains a choice. */
  seen: string;
  /** The driver's library, where the linker would not find it by its name: it must be opened before LibTorch asks for it. */
  library?: string;
}

/** The driver's library, by the name under which CUDA opens it. */
export const DRIVER_LIBRARY = 'libcuda.so.1';

/** Where it lies on WSL and on Kubernetes (GKE's device plugin), which do not always tell the linker. */
const UNTOLD_FOLDERS = ['/usr/lib/wsl/lib', '/usr/local/nvidia/lib64', '/usr/local/nvidia/lib'];

interface Places {
  proc?: string;
  folders?: readonly string[];
  env?: NodeJS.ProcessEnv;
}

/**
 * The NVIDIA driver as the kernel shows it, or as the linker would find its library, or undefined. Runs nothing. Sandboxes
 * (gVisor) show no kernel module, and containers may have the library on LD_LIBRARY_PATH alone.
 */
export function nvidiaDriver(places: Places = {}): Driver | undefined {
  const { proc = '/proc/driver/nvidia/version', folders = UNTOLD_FOLDERS, env = process.env } = places;
  const holds = (folder: string) => folder !== '' && existsSync(join(folder, DRIVER_LIBRARY));
  const linked = env.LD_LIBRARY_PATH?.split(/[:;]/).find(holds);
  const found = linked !== undefined || systemHas(DRIVER_LIBRARY);
  const untold = found ? undefined : folders.find(holds);
  const library = untold === undefined ? {} : { library: join(untold, DRIVER_LIBRARY) };
  if (existsSync(proc)) {
    const version = /\s(\d{3,}\.\d+(?:\.\d+)?)\s/.exec(readFileSync(proc, 'utf8'))?.[1];
    return { version, seen: version === undefined ? `${proc} exists` : `NVIDIA driver ${version}`, ...library };
  }
  if (!found && untold === undefined) return undefined;
  const where = linked ?? untold;
  return {
    version: undefined,
    seen: where === undefined ? `${DRIVER_LIBRARY} is installed` : `${join(where, DRIVER_LIBRARY)} is there`,
    ...library,
  };
}

/** The variant that a driver can run: CUDA 13 needs release 580, older ones run CUDA 12.6. */
export function variantFor(driver: Driver | undefined): Variant {
  return driver?.version !== undefined && Number.parseInt(driver.version, 10) < 580 ? 'cu126' : 'cu130';
}
