// What `doctor` and `setup` run in a separate process, so that a library that crashes cannot take them down with it.
// Usage: node probe-child.js addon | sharp. Prints one line of JSON: { ok: true, … } or { ok: false, error }.
import { createRequire } from 'node:module';
import { messageOf } from '../errors.js';
import { demandAddon, demandLibtorch } from '../libtorch/first-use.js';
import { loadNative } from '../torch/load.js';

function probeAddon() {
  createRequire(import.meta.url)(demandAddon(demandLibtorch()).image);
  const native = loadNative();
  const version = native.version();
  const devices = version.cuda
    ? Array.from({ length: native.deviceCount() }, (_, index) => native.deviceName(index))
    : [];
  return { ...version, threads: native.getThreads(), devices };
}

async function probeSharp() {
  const { default: sharp } = await import('sharp');
  const formats = Object.entries(sharp.format).filter(([, format]) => format.input.buffer || format.input.file);
  return { sharp: sharp.versions.sharp, vips: sharp.versions.vips, formats: formats.map(([name]) => name) };
}

try {
  const result = process.argv[2] === 'sharp' ? await probeSharp() : probeAddon();
  process.stdout.write(`${JSON.stringify({ ok: true, ...result })}\n`);
} catch (error) {
  process.stdout.write(`${JSON.stringify({ ok: false, error: messageOf(error) })}\n`);
}
