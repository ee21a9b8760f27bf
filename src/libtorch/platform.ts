// Which systems this package runs on: Linux with glibc, as LibTorch's own builds do.
import { UserError } from '../errors.js';

export interface Platform {
  /** As process.platform and process.arch have them. */
  system: string;
  arch: string;
  /** glibc's version, or undefined where there is another C library. */
  glibc: string | undefined;
}

let own: string | null | undefined;

/** A report looks up the names of all that the sockets are connected to, which takes seconds where no server answers. */
function withoutNetwork<T>(body: () => T): T {
  const settings: NodeJS.ProcessReport & { excludeNetwork?: boolean } = process.report; // Node 20.13; not in the types yet
  const before = settings.excludeNetwork ?? false;
  settings.excludeNetwork = true;
  try {
    return body();
  } finally {
    settings.excludeNetwork = before;
  }
}

/** glibc's version (`2.36`), or undefined on a system with another C library. Takes some milliseconds, once. */
export function glibcVersion(): string | undefined {
  if (own === undefined) {
    // Checked by hand: loading zod would cost each loader thread 40 ms.
    const report = withoutNetwork(() => process.report.getReport()) as { header?: { glibcVersionRuntime?: unknown } };
    const version = report.header?.glibcVersionRuntime;
    own = typeof version === 'string' ? version : null;
  }
  return own ?? undefined;
}

export function ownPlatform(): Platform {
  const { platform: system, arch } = process;
  return { system, arch, glibc: system === 'linux' ? glibcVersion() : undefined };
}

/** One sentence, with the remedy, where this package cannot run; undefined where it can. */
export function platformDefect({ system, arch, glibc }: Platform = ownPlatform()): string | undefined {
  const where = 'blip-retrieval runs on Linux with glibc, on x86-64 and arm64';
  if (system !== 'linux') {
    const wsl = system === 'win32' ? ' On Windows, use WSL 2.' : ' Use a Linux machine or container.';
    return `${where}, and this is ${system}.${wsl}`;
  }
  if (arch !== 'x64' && arch !== 'arm64') return `${where}, and this Node is for ${arch}. Use another machine.`;
  if (glibc === undefined)
    return `${where}, and this system has another C library (Alpine?). Use a Debian, Ubuntu or Fedora image.`;
  return undefined;
}

/** @throws UserError where this package cannot run */
export function demandPlatform(): void {
  const defect = platformDefect();
  if (defect !== undefined) throw new UserError(defect);
}
