// Where the addon's files are, and what it was built from: the one answer that loading, setup and doctor share.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.js';

/** Folder of package.json: the compiled file lies in dist/libtorch. */
export const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export interface AddonFiles {
  folder: string;
  /** Resizes and augments images, without LibTorch. */
  image: string;
  /** Opens LibTorch's libraries. */
  boot: string;
  /** Everything that calls LibTorch. */
  torch: string;
  /** NCCL's part, for several GPUs; absent if it could not be compiled. */
  nccl: string;
  /** What the addon was built from: a BuildRecord. */
  record: string;
}

/** What the addon was built from; `setup` writes it beside the addon as libtorch.json. */
export interface BuildRecord {
  /** LibTorch's folder at build time, and its version with the local part (`2.11.0+cu130`). */
  root: string;
  version: string;
  /** Hash of the native sources, the LibTorch and the Node-API version. */
  stamp: string;
  /** Why there is no libblip_nccl.so, which several GPUs need; absent if there is one. */
  ncclDefect?: string;
}

/** The addon's files in `folder`, whether they exist or not. */
export function addonFilesIn(folder: string): AddonFiles {
  const path = (name: string) => join(folder, name);
  return {
    folder,
    image: path('image.node'),
    boot: path('boot.node'),
    torch: path('torch.node'),
    nccl: path('libblip_nccl.so'),
    record: path('libtorch.json'),
  };
}

/** Where a build below `root` leaves the addon. */
export function buildFolder(root = packageRoot): string {
  return join(root, 'build', 'Release');
}

/** Those without which nothing works. */
export const requiredFiles = ({ image, boot, torch }: AddonFiles): string[] => [image, boot, torch];

/** The addon of the package in `root`, built there or shipped with it; undefined when a part is missing. */
export function findAddon(root = packageRoot): AddonFiles | undefined {
  const resolver: { path(root: string): string } = createRequire(import.meta.url)('node-gyp-build');
  let folder: string;
  try {
    folder = dirname(resolver.path(root));
  } catch {
    return undefined;
  }
  const files = addonFilesIn(folder);
  return requiredFiles(files).every((path) => existsSync(path)) ? files : undefined;
}

/** What to do about an addon that is missing or does not load. */
export const ADDON_REMEDY =
  'Run "npx blip-retrieval setup" (in a checkout: "npm run build"); "doctor" shows the details.';

/** The addon of this package. @throws UserError when it is not built */
export function demandAddon(): AddonFiles {
  const files = findAddon();
  if (files === undefined) throw new UserError(`The native addon is not built in ${packageRoot}. ${ADDON_REMEDY}`);
  return files;
}

/** What the addon `files` was built from, or undefined if no record can be read. */
export function readBuildRecord(files: AddonFiles | undefined): BuildRecord | undefined {
  if (files === undefined) return undefined;
  try {
    // Checked by hand: loading zod would cost each loader thread 40 ms.
    const record: Partial<Record<keyof BuildRecord, unknown>> = JSON.parse(readFileSync(files.record, 'utf8'));
    const { root, version, stamp, ncclDefect } = record;
    if (typeof root !== 'string' || typeof version !== 'string' || typeof stamp !== 'string') return undefined;
    return { root, version, stamp, ...(typeof ncclDefect === 'string' && { ncclDefect }) };
  } catch {
    return undefined;
  }
}
