// Building the addon: when it is due, what it says without tools, headers or sense, and that two do not collide.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { addonFilesIn, buildFolder, buildStamp, findAddon, readBuildRecord } from '#blip/libtorch/addon-files.js';
import { platformDefect } from '#blip/libtorch/platform.js';
import { onPath } from '#blip/libtorch/python.js';
import { inspectLibtorch, type Libtorch } from '#blip/libtorch/search.js';
import { buildAddon, buildDefect } from '#blip/setup/build.js';
import { buildToolDefect } from '#blip/setup/packages.js';
import { fakeTorch, put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

const paths = (root: string) => addonFilesIn(buildFolder(root));

function silent() {}

function libtorchIn(folder: string, version?: string): Libtorch {
  const found = inspectLibtorch(fakeTorch(folder, version === undefined ? {} : { version }), 'python', {});
  assert.ok(typeof found !== 'string', String(found));
  return found;
}

/** A package whose CMake project needs no compiler: it writes the three files, and counts its builds in build/count. */
function fakePackage(folder: string, commands: string): string {
  const root = join(folder, 'package');
  put(join(root, 'package.json'), '{ "name": "fake", "version": "1.0.0", "binary": { "napi_versions": [8] } }\n');
  put(join(root, 'native/addon.cc'), 'int one;\n');
  put(join(root, 'src/cli.ts'), ''); // a checkout
  put(join(root, 'CMakeLists.txt'), `cmake_minimum_required(VERSION 3.18)\nproject(fake NONE)\n${commands}\n`);
  // cmake-js looks for Node-API's headers from the package it builds.
  symlinkSync(join(process.cwd(), 'node_modules'), join(root, 'node_modules'));
  return root;
}

const writing = `
message(STATUS "root \${LIBTORCH_ROOT}")
file(APPEND "\${CMAKE_BINARY_DIR}/count" "configured\\n")
file(WRITE "\${CMAKE_BINARY_DIR}/Release/image.node" "image")
file(WRITE "\${CMAKE_BINARY_DIR}/Release/boot.node" "boot")
file(WRITE "\${CMAKE_BINARY_DIR}/Release/torch.node" "torch of \${LIBTORCH_ROOT}")`;

/** This machine's tools, and a cache of the test's own. */
const environment = (folder: string) => ({ ...process.env, BLIP_CACHE: join(folder, 'cache') });

describe('when a build is due', () => {
  test('the stamp follows sources, LibTorch and nothing else', (t) => {
    const folder = temporaryFolder(t);
    const root = join(folder, 'package');
    put(join(root, 'native/a.cc'), 'a');
    put(join(root, 'CMakeLists.txt'), 'x');
    const libtorch = { build: '2.11.0' };
    const stamp = buildStamp(libtorch, root);
    put(join(root, 'native/notes.md'), 'notes');
    assert.equal(buildStamp(libtorch, root), stamp);
    const seen = new Set([stamp]);
    const expectNew = (next: string) => {
      assert.equal(seen.has(next), false);
      seen.add(next);
    };
    expectNew(buildStamp({ build: '2.11.0+cu130' }, root));
    put(join(root, 'native/deep/b.h'), 'b');
    expectNew(buildStamp(libtorch, root));
    put(join(root, 'native/a.cc'), 'b');
    expectNew(buildStamp(libtorch, root));
    put(join(root, 'CMakeLists.txt'), 'y');
    expectNew(buildStamp(libtorch, root));
  });

  test('each reason has its words', (t) => {
    const folder = temporaryFolder(t);
    const root = join(folder, 'package');
    const libtorch = libtorchIn(folder);
    put(join(root, 'native/a.cc'), 'a');
    put(join(root, 'src/cli.ts'), '');
    const { image, boot, torch, record: recordFile } = paths(root);
    for (const path of [boot, torch, image]) {
      assert.equal(buildDefect(root, {}), 'the addon has not been built');
      put(path, '');
    }
    assert.equal(buildDefect(root, {}), 'there is no record of what the addon was built from');
    put(recordFile, '{ "root": 1 }');
    assert.equal(buildDefect(root, {}), 'there is no record of what the addon was built from');
    const record = { root: libtorch.root, version: libtorch.build, stamp: buildStamp(libtorch, root) };
    put(recordFile, JSON.stringify(record));
    assert.deepEqual(readBuildRecord(paths(root)), record);
    assert.equal(buildDefect(root, {}), undefined);
    const other = fakeTorch(join(folder, 'other'), { version: '2.12.0' });
    assert.match(
      buildDefect(root, { LIBTORCH: other }) ?? '',
      /^it was built for LibTorch 2\.11\.0\+cu130, and LIBTORCH has 2\.12\.0$/,
    );
    put(join(root, 'native/a.cc'), 'changed');
    assert.equal(buildDefect(root, {}), 'its sources have changed');
    put(join(libtorch.root, 'version.py'), "__version__ = '2.11.1'\n");
    assert.match(buildDefect(root, {}) ?? '', /^it was built for LibTorch 2\.11\.0\+cu130, and .* has 2\.11\.1$/);
    rmSync(libtorch.root, { recursive: true });
    assert.match(buildDefect(root, {}) ?? '', /^the LibTorch that it was built against is gone from /);
  });
});

describe('what a build needs', () => {
  test('each missing program is named, with the package that brings it', (t) => {
    const folder = temporaryFolder(t);
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    assert.match(
      buildToolDefect({ PATH: bin }) ?? '',
      /^The addon cannot be built without cmake and a C\+\+ compiler and make or ninja\. Run ".*cmake.*", then setup again\.$/,
    );
    for (const name of ['cmake', 'make']) symlinkSync('/bin/true', join(bin, name));
    assert.match(buildToolDefect({ PATH: bin }) ?? '', /without a C\+\+ compiler\. Run /);
    symlinkSync('/bin/false', join(bin, 'c++'));
    assert.match(
      buildToolDefect({ PATH: bin }) ?? '',
      /^c\+\+ does not compile C\+\+17 .*or set CXX to another compiler\.$/,
    );
    assert.match(
      buildToolDefect({ PATH: bin, CXX: '/nowhere/c++' }) ?? '',
      /^\/nowhere\/c\+\+ does not compile C\+\+17 \(.*ENOENT\)/,
    );
    const machine = buildToolDefect();
    assert.equal(machine, undefined, 'the tools of this machine');
  });

  test('a LibTorch without headers is refused before anything runs', async (t) => {
    const folder = temporaryFolder(t);
    const libtorch = libtorchIn(folder);
    rmSync(libtorch.include, { recursive: true });
    const building = buildAddon(libtorch, { root: join(folder, 'package'), env: environment(folder), say: silent });
    await assert.rejects(building, { name: 'UserError', message: /without its headers \(include\/ATen\/ATen\.h\)/ });
  });
});

describe('the build itself', () => {
  test('builds once, then only when something changed, with the LibTorch it was given', async (t) => {
    const folder = temporaryFolder(t);
    const root = fakePackage(folder, writing);
    const libtorch = libtorchIn(folder);
    const options = { root, env: environment(folder), say: silent };
    const builds = () => readFileSync(join(root, 'build/count'), 'utf8').trim().split('\n').length;
    assert.equal(await buildAddon(libtorch, options), true);
    assert.equal(readFileSync(paths(root).torch, 'utf8'), `torch of ${libtorch.root}`);
    const once = builds();
    assert.equal(await buildAddon(libtorch, options), false);
    assert.equal(builds(), once);
    const other = libtorchIn(join(folder, 'other'), '2.12.0');
    assert.equal(await buildAddon(other, options), true);
    assert.equal(readFileSync(paths(root).torch, 'utf8'), `torch of ${other.root}`);
    assert.equal(readBuildRecord(paths(root))?.version, '2.12.0');
    assert.equal(await buildAddon(other, { ...options, force: true }), true);
  });

  test('two at once: one builds, the other finds it built', async (t) => {
    const folder = temporaryFolder(t);
    const root = fakePackage(folder, writing);
    const libtorch = libtorchIn(folder);
    const said: string[] = [];
    const options = { root, env: environment(folder), say: (line: string) => said.push(line) };
    const both = await Promise.all([buildAddon(libtorch, options), buildAddon(libtorch, options)]);
    assert.deepEqual(both.sort(), [false, true]);
    assert.equal(said.filter((line) => line.startsWith('Compiling')).length, 1);
    assert.equal(said.filter((line) => line.includes(`(process ${process.pid}), which is building`)).length, 1);
  });

  test("NCCL's part that does not compile is omitted, and the reason recorded", async (t) => {
    const folder = temporaryFolder(t);
    const failing = 'if(BLIP_NCCL)\n  message(FATAL_ERROR "native/nccl.cc:3: error: no such NCCL")\nendif()';
    const root = fakePackage(folder, `${failing}\n${writing}`);
    put(paths(root).nccl, 'of an earlier build');
    const libtorch = libtorchIn(folder);
    assert.equal(await buildAddon(libtorch, { root, env: environment(folder), say: silent }), true);
    assert.equal(existsSync(paths(root).nccl), false);
    assert.match(
      readBuildRecord(paths(root))?.ncclDefect ?? '',
      /^it did not compile \(.*; the full log is .*\.log\)$/,
    );
    assert.equal(buildDefect(root, {}), undefined);
  });

  test('a LibTorch without its CUDA part has none for NCCL; with one, no defect is recorded', async (t) => {
    const folder = temporaryFolder(t);
    const root = fakePackage(folder, writing);
    const options = { root, env: environment(folder), say: silent };
    await buildAddon(libtorchIn(folder), options);
    assert.equal(
      readBuildRecord(paths(root))?.ncclDefect,
      'this LibTorch does not have the headers of its CUDA libraries',
    );
    put(
      join(root, 'CMakeLists.txt'),
      `${readFileSync(join(root, 'CMakeLists.txt'), 'utf8')}
      file(WRITE "\${CMAKE_BINARY_DIR}/Release/libblip_nccl.so" "nccl")\n`,
    );
    await buildAddon(libtorchIn(folder), options);
    assert.deepEqual(Object.keys(readBuildRecord(paths(root)) ?? {}), ['root', 'version', 'stamp']);
  });

  test('a failure shows the first error, names the log, and leaves no record', async (t) => {
    const folder = temporaryFolder(t);
    const root = fakePackage(folder, 'message(FATAL_ERROR "the moon is full")');
    const { record } = paths(root);
    put(record, '{}');
    const libtorch = libtorchIn(folder);
    const building = buildAddon(libtorch, { root, env: environment(folder), say: silent });
    await assert.rejects(building, (error: Error) => {
      assert.match(
        error.message,
        /^The addon could not be compiled against LibTorch 2\.11\.0\+cu130 in .*\. See the full log /,
      );
      assert.match(error.message, /\n {2}.*CMake Error[\s\S]*the moon is full/);
      const log = /See the full log (\S+\.log), which says:\n/.exec(error.message)?.[1] ?? '';
      assert.match(readFileSync(log, 'utf8'), /the moon is full/);
      return true;
    });
    assert.equal(existsSync(record), false);
  });

  test('a build that leaves nothing is no success', async (t) => {
    const folder = temporaryFolder(t);
    const root = fakePackage(folder, '');
    const building = buildAddon(libtorchIn(folder), { root, env: environment(folder), say: silent });
    await assert.rejects(building, { message: /left no .*boot\.node, .*torch\.node\. Run setup --force\.$/ });
  });
});

test('programs are found on PATH only where they can be run', (t) => {
  const folder = temporaryFolder(t);
  put(join(folder, 'plain'), '');
  mkdirSync(join(folder, 'folder'));
  assert.equal(onPath('plain', { PATH: folder }), undefined);
  assert.equal(onPath('folder', { PATH: folder }), undefined);
  assert.equal(onPath('true', { PATH: `${folder}:/bin` }), '/bin/true');
});

describe('an installed package', () => {
  /** Two packages with the same sources, in the projects of somebody who has one cache. */
  function twoProjects(folder: string, commands = writing) {
    return ['one', 'two'].map((name) => {
      const root = fakePackage(join(folder, name), commands);
      rmSync(join(root, 'src'), { recursive: true });
      return root;
    }) as [string, string];
  }

  test('is built in the cache, once for all projects, and nothing is written to it', async (t) => {
    const folder = temporaryFolder(t);
    const [one, two] = twoProjects(folder);
    const env = environment(folder);
    const libtorch = libtorchIn(folder);
    chmodSync(one, 0o555);
    assert.equal(await buildAddon(libtorch, { root: one, env, say: silent }), true);
    assert.deepEqual(readdirSync(one).includes('build'), false);
    const stamp = buildStamp(libtorch, one);
    const cached = addonFilesIn(join(folder, 'cache/addons', stamp));
    assert.deepEqual(readdirSync(join(folder, 'cache/addons')), [stamp]);
    assert.equal(await buildAddon(libtorch, { root: two, env, say: silent }), false);
    const query = { root: two, env };
    assert.deepEqual(findAddon({ ...query, version: '2.11.3' }), { ...cached, origin: 'cache' });
    assert.deepEqual(findAddon(query), { ...cached, origin: 'cache' });
    assert.equal(findAddon({ ...query, version: '2.12.0' }), undefined);
    put(join(two, 'native/addon.cc'), 'int two;\n');
    assert.equal(findAddon(query), undefined, 'of other sources');
  });

  test('two at once build once', async (t) => {
    const folder = temporaryFolder(t);
    const env = environment(folder);
    const libtorch = libtorchIn(folder);
    const builds = twoProjects(folder).map((root) => buildAddon(libtorch, { root, env, say: silent }));
    assert.deepEqual((await Promise.all(builds)).sort(), [false, true]);
  });

  test('a build that fails leaves nothing in the cache', async (t) => {
    const folder = temporaryFolder(t);
    const [root] = twoProjects(folder, 'message(FATAL_ERROR "no")');
    const building = buildAddon(libtorchIn(folder), { root, env: environment(folder), say: silent });
    await assert.rejects(building, { name: 'UserError', message: /could not be compiled/ });
    assert.deepEqual(readdirSync(join(folder, 'cache/addons')), []);
  });

  test('the addon that came with it is used for its LibTorch and a glibc that is new enough', (t) => {
    const folder = temporaryFolder(t);
    const [root] = twoProjects(folder);
    const shipped = addonFilesIn(join(root, 'prebuilds', `linux-${process.arch}`));
    for (const path of [shipped.image, shipped.boot, shipped.torch]) put(path, '');
    const find = (version?: string) => findAddon({ root, env: environment(folder), version })?.origin;
    const record = { version: '2.11.0+cu130', stamp: buildStamp({ build: '2.11.0+cu130' }, root), glibc: '2.17' };
    put(shipped.record, JSON.stringify(record));
    assert.deepEqual([find(), find('2.11.0+cpu'), find('2.12.0')], ['package', 'package', undefined]);
    assert.equal(buildDefect(root, environment(folder)), undefined);
    put(shipped.record, JSON.stringify({ ...record, glibc: '9.1' }));
    assert.equal(find('2.11.0'), undefined);
    put(join(folder, 'cache/addons', record.stamp, 'image.node'), '');
    for (const name of ['boot.node', 'torch.node']) put(join(folder, 'cache/addons', record.stamp, name), '');
    assert.equal(find('2.11.0'), 'cache');
  });
});

test('each system that it does not run on has its sentence', () => {
  const linux = { system: 'linux', arch: 'x64', glibc: '2.28' };
  assert.equal(platformDefect(linux), undefined);
  assert.equal(platformDefect({ ...linux, arch: 'arm64' }), undefined);
  assert.match(platformDefect({ ...linux, system: 'darwin' }) ?? '', /this is darwin\. Use a Linux machine/);
  assert.match(platformDefect({ ...linux, system: 'win32' }) ?? '', /this is win32\. On Windows, use WSL 2\.$/);
  assert.match(platformDefect({ ...linux, arch: 'riscv64' }) ?? '', /this Node is for riscv64\./);
  assert.match(platformDefect({ ...linux, glibc: undefined }) ?? '', /another C library \(Alpine\?\)\. Use a Debian/);
});
