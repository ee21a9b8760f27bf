// Builds the stand-in for CUDA of test/strict-cuda: a LibTorch folder of links whose libtorch_cuda.so is ours, under
// .build/strict-cuda. Each object is kept with a stamp of what it was made from.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './build-steps.mjs';

const sources = join(root, 'test/strict-cuda');
const folder = join(root, '.build/strict-cuda');
// Its classes are laid out as in this version's headers.
const version = '2.11';

const flags = ['-std=c++17', '-O1', '-fPIC', '-w', '-fvisibility=hidden'];
const definitions = ['-DUSE_DISTRIBUTED', '-DUSE_C10D_GLOO', '-DUSE_RPC', '-DUSE_TENSORPIPE'];

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} failed on ${args.at(-1)}`))));
  });
}

const filesWith = (ending) => readdirSync(sources).filter((name) => name.endsWith(ending));

async function compileAll(libtorch) {
  const includes = [
    libtorch.include,
    join(libtorch.include, 'torch/csrc/api/include'),
    join(root, 'native/gloo_stubs'),
    join(root, 'build/gloo_stubs'), // made when the addon was
  ];
  const options = [...flags, ...definitions, ...includes.flatMap((path) => ['-isystem', path])];
  const shared = [...filesWith('.h'), ...filesWith('.inc')].map((name) => readFileSync(join(sources, name)));
  const compiler = process.env.CXX ?? 'c++';
  let isNew = false;
  const waiting = filesWith('.cc').sort();
  const objects = waiting.map((name) => join(folder, `${name}.o`));
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const source = join(sources, name);
      const hash = createHash('sha256').update([compiler, libtorch.build, ...options].join('\n'));
      for (const bytes of [readFileSync(source), ...shared]) hash.update(bytes);
      const digest = hash.digest('hex');
      const object = join(folder, `${name}.o`);
      const stamp = `${object}.stamp`;
      if (existsSync(stamp) && existsSync(object) && readFileSync(stamp, 'utf8') === digest) continue;
      console.error(`Compiling test/strict-cuda/${name}`);
      isNew = true;
      rmSync(stamp, { force: true });
      await run(compiler, [...options, '-o', object, '-c', source]);
      writeFileSync(stamp, digest);
    }
  };
  await Promise.all([worker(), worker()]);
  return { objects, isNew, compiler };
}

function link(target, path) {
  try {
    if (readlinkSync(path) === target) return;
  } catch {}
  rmSync(path, { force: true });
  symlinkSync(target, path);
}

/**
 * Builds the stand-in where it is absent or out of date.
 * @returns `env`, the variables with which a program finds it, or `skip`, why it cannot be used here
 */
export async function ensureStrictCuda() {
  const product = (path) => import(pathToFileURL(join(root, 'dist', path)).href);
  const { searchLibtorch } = await product('libtorch/search.js');
  const { recordedLibtorch } = await product('libtorch/addon-files.js');
  const recorded = recordedLibtorch();
  const { libtorch } = searchLibtorch({ recorded });
  if (libtorch === undefined) return { skip: 'LibTorch was not found' };
  if (!libtorch.version.startsWith(`${version}.`))
    return {
      skip: `the stand-in for CUDA is written for LibTorch ${version}, and ${libtorch.root} is ${libtorch.version}`,
    };

  const lib = join(folder, 'torch/lib');
  mkdirSync(lib, { recursive: true });
  for (const name of readdirSync(libtorch.root))
    if (name !== 'lib') link(join(libtorch.root, name), join(folder, 'torch', name));
  for (const name of readdirSync(libtorch.lib).filter((name) => /\.so(\.|$)/.test(name) && name !== 'libtorch_cuda.so'))
    link(join(libtorch.lib, name), join(lib, name));
  const nvidia = join(dirname(libtorch.root), 'nvidia');
  if (existsSync(nvidia)) link(nvidia, join(folder, 'nvidia'));

  const { objects, isNew, compiler } = await compileAll(libtorch);
  const library = join(lib, 'libtorch_cuda.so');
  if (isNew || !existsSync(library))
    await run(compiler, [
      '-shared',
      '-o',
      library,
      ...objects,
      `-L${libtorch.lib}`,
      '-lc10',
      '-ltorch_cpu',
      `-Wl,-rpath,${libtorch.lib}`,
    ]);
  // A driver is seen where its library is. Nothing is in it: the stand-in asks no driver.
  const driver = join(folder, 'driver');
  const driverLibrary = join(driver, 'libcuda.so.1');
  mkdirSync(driver, { recursive: true });
  if (!existsSync(driverLibrary)) await run(compiler, ['-shared', '-x', 'c++', '/dev/null', '-o', driverLibrary]);
  return {
    env: {
      LIBTORCH: join(folder, 'torch'),
      LD_LIBRARY_PATH: [driver, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
      STRICT_CUDA_DEVICES: '3',
      STRICT_CUDA_MEMORY: '20000000000',
    },
  };
}
