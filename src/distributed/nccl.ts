// NCCL's part of the addon, which only a group on GPUs opens.
import { existsSync } from 'node:fs';
import { UserError } from '../errors.js';
import type { AddonFiles } from '../libtorch/addon-files.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { native } from '../torch/native.js';

let atExit = false;

/** Its path, beside the addon itself. @throws UserError when it was not compiled */
export function ncclLibrary({ nccl: path }: Pick<AddonFiles, 'nccl'> = demandAddon(demandLibtorch())): string {
  if (existsSync(path)) return path;
  throw new UserError(
    `Several processes on GPUs need NCCL's part of the addon, and ${path} does not exist. Run "npx blip-retrieval setup --cuda --force", which builds it or says why it cannot, or use one process, or set \`device\` to cpu.`,
  );
}

/**
 * Opens it, and sees to it that a process that ends with a group in use keeps its exit code.
 * @throws UserError when it was not compiled, does not open, or was compiled for another NCCL than LibTorch's
 */
export function openNccl(path = ncclLibrary()): void {
  const defect = native().openNccl(path);
  if (defect !== null)
    throw new UserError(
      `NCCL's part of the addon, ${path}, cannot be used: ${defect}. Run "npx blip-retrieval setup --cuda --force" (with the folder of LibTorch's own nccl.h in BLIP_NCCL_INCLUDE, where the version differs), or use one process, or set \`device\` to cpu.`,
    );
  if (!atExit) process.on('exit', () => native().endNcclAtExit());
  atExit = true;
}
