// Builds the module by which LibTorch says each wait for the GPU (sync_debug.c).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Compiles it to `path` unless it is there. @returns whether it is there now */
export function buildSyncDebug(root, path) {
  if (existsSync(path)) return true;
  const headers = `-I${join(root, 'node_modules/node-api-headers/include')}`;
  const source = fileURLToPath(new URL('./sync_debug.c', import.meta.url));
  const args = ['-shared', '-fPIC', '-O1', headers, source, '-o', path, '-ldl'];
  return spawnSync(process.env.CC ?? 'cc', args).status === 0;
}
