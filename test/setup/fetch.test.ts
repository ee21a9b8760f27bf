// Fetching LibTorch: from a zip on a local server, and from wheels by way of a pretended pip.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { UserError } from '#blip/errors.js';
import { searchLibtorch } from '#blip/libtorch/search.js';
import { fetchLibtorch, zipUrl } from '#blip/setup/fetch-libtorch.js';
import type { Wheel } from '#blip/setup/wheels.js';
import { projectRoot } from '../helpers/fixtures.js';
import { endedIdentity, foreignIdentity } from '../helpers/identities.js';
import { fakePython, libtorchZip, put, temporary, wheelFiles, zip } from './fake-libtorch.js';
import { serve } from './server.js';

const folderName = 'libtorch-2.11.0-cpu';

function silent() {}

/** No interpreter, its own cache, and the zip from `url`. */
function environment(folder: string, url: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: join(folder, 'bin'), BLIP_CACHE: join(folder, 'cache'), BLIP_LIBTORCH_URL: url, ...more };
}

async function failure(work: Promise<unknown>): Promise<UserError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof UserError, `no UserError: ${error}`);
    return error;
  }
  return assert.fail('it did not fail');
}

describe('the zip', () => {
  test('its address is the official one, or lies below BLIP_LIBTORCH_URL', () => {
    const path = 'libtorch-shared-with-deps-2.11.0%2Bcu126.zip';
    assert.equal(zipUrl('cu126', {}), `https://download.pytorch.org/libtorch/cu126/${path}`);
    assert.equal(zipUrl('cu126', { BLIP_LIBTORCH_URL: 'http://mirror.test/x/' }), `http://mirror.test/x/cu126/${path}`);
  });

  test('is announced with its size before a byte comes, unpacked without what is not needed, and found', async (t) => {
    const folder = temporary(t);
    const server = await serve(t, libtorchZip());
    const env = environment(folder, server.url);
    const said: [line: string, sent: number][] = [];
    const root = await fetchLibtorch({ variant: 'cpu', env, say: (line) => said.push([line, server.sent]) });
    assert.equal(root, join(folder, 'cache', folderName, 'libtorch'));
    const [announcement, sent] = said[0] ?? ['', -1];
    assert.match(
      announcement,
      /^Downloading http:\/\/127\.0\.0\.1:\d+\/cpu\/libtorch-shared.*\.zip \(\d+\.\d kB\) to .*downloads/,
    );
    assert.equal(sent, 0);
    assert.ok(said.some(([line]) => line.startsWith(`SHA-256 ${server.sha256}: recorded`)));
    assert.deepEqual(readdirSync(join(root, 'lib')).sort(), ['libc10.so', 'libgomp-52f2fd74.so.1', 'libtorch_cpu.so']);
    assert.equal(existsSync(join(root, 'bin')), false);
    assert.equal(searchLibtorch({ env }).libtorch?.root, root);
    // Archive, lock and half unpacked folder are gone.
    assert.deepEqual(readdirSync(join(folder, 'cache')).sort(), ['downloads', folderName]);
    assert.deepEqual(readdirSync(join(folder, 'cache', 'downloads')), ['digests.json']);
  });

  test('is not fetched again while it is whole, and is when a file is gone', async (t) => {
    const folder = temporary(t);
    const server = await serve(t, libtorchZip());
    const env = environment(folder, server.url);
    const root = await fetchLibtorch({ variant: 'cpu', env, say: silent });
    const requests = server.requests.length;
    assert.equal(await fetchLibtorch({ variant: 'cpu', env, say: silent }), root);
    assert.equal(server.requests.length, requests);
    rmSync(join(root, 'lib/libtorch_cpu.so'));
    await fetchLibtorch({ variant: 'cpu', env, say: silent });
    assert.ok(existsSync(join(root, 'lib/libtorch_cpu.so')));
  });

  test('two processes at once: one download, both have it', async (t) => {
    const folder = temporary(t);
    const server = await serve(t, libtorchZip());
    const module = pathToFileURL(join(projectRoot, 'dist/setup/fetch-libtorch.js')).href;
    const script = `
      const { fetchLibtorch } = await import(${JSON.stringify(module)});
      console.log(await fetchLibtorch({ variant: 'cpu', say: () => {} }));`;
    const env = { ...process.env, ...environment(folder, server.url) };
    const run = () =>
      new Promise<string>((settle, reject) => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
          env,
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        let text = '';
        child.stdout.on('data', (chunk) => {
          text += chunk;
        });
        child.on('error', reject);
        child.on('close', (code) => (code === 0 ? settle(text.trim()) : reject(new Error(`exit status ${code}`))));
      });
    const root = join(folder, 'cache', folderName, 'libtorch');
    assert.deepEqual(await Promise.all([run(), run()]), [root, root]);
    assert.equal(server.requests.filter((request) => request.startsWith('GET')).length, 1);
  });

  test('a connection that breaks off is resumed, in this run or the next', async (t) => {
    const folder = temporary(t);
    // Large enough that some of it has reached the disk when the connection goes.
    const content = libtorchZip('2.11.0+cpu', 4_000_000);
    const server = await serve(t, content);
    server.breaks = 1;
    const env = environment(folder, server.url);
    const options = { variant: 'cpu' as const, env, say: silent, sha256: server.sha256 };
    try {
      await fetchLibtorch(options);
    } catch (error) {
      assert.ok(error instanceof UserError, `no UserError: ${error}`);
      assert.equal(existsSync(join(folder, 'cache', folderName)), false, 'a half download was installed');
      await fetchLibtorch(options);
    }
    assert.equal(server.breaks, 0);
    assert.ok(
      server.requests.some((request) => / bytes=[1-9]\d*-/.test(request)),
      server.requests.join('\n'),
    );
    assert.ok(server.sent < content.length * 1.5, `${server.sent} bytes were sent for ${content.length}`);
  });

  test('a digest other than the expected one: nothing is installed', async (t) => {
    const folder = temporary(t);
    const server = await serve(t, libtorchZip());
    const env = environment(folder, server.url);
    const wrong = '0'.repeat(64);
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, sha256: wrong, say: silent }));
    assert.match(error.message, /sha-?256/i);
    assert.match(error.message, new RegExp(wrong));
    assert.equal(existsSync(join(folder, 'cache', folderName)), false);
  });

  test('a zip that is another one than at the first time is refused', async (t) => {
    const folder = temporary(t);
    const first = await serve(t, libtorchZip('2.11.0+cpu'));
    const env = environment(folder, first.url);
    await fetchLibtorch({ variant: 'cpu', env, say: silent });
    rmSync(join(folder, 'cache', folderName), { recursive: true });
    const digests = join(folder, 'cache/downloads/digests.json');
    put(digests, readFileSync(digests, 'utf8').replace(first.sha256, 'f'.repeat(64)));
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, say: silent }));
    assert.match(error.message, /f{64}/);
    assert.equal(existsSync(join(folder, 'cache', folderName)), false);
  });

  test('a zip of something else is refused, and what a killed process left half unpacked is swept away', async (t) => {
    const folder = temporary(t);
    const server = await serve(t, zip([{ name: 'libtorch/build-version', content: '2.11.0+cpu' }]));
    const unpacking = (identity: string) => `.libtorch.${identity}.00000000.tmp`;
    mkdirSync(join(folder, 'cache', unpacking(endedIdentity()), 'libtorch'), { recursive: true });
    // The cache may be on a file server: what another machine unpacks at the moment stays.
    const elsewhere = unpacking(foreignIdentity());
    mkdirSync(join(folder, 'cache', elsewhere));
    const error = await failure(fetchLibtorch({ variant: 'cpu', env: environment(folder, server.url), say: silent }));
    assert.match(
      error.message,
      /^The download is not a usable LibTorch: it has no lib\/libc10\.so and no lib\/libtorch_cpu\.so\. Remove /,
    );
    assert.deepEqual(readdirSync(join(folder, 'cache')).sort(), [elsewhere, 'downloads'].sort());
  });
});

describe("pip's wheels", () => {
  /** Wheels of a small LibTorch in an index of their own, and an environment whose python3 has pip and that index. */
  async function pipWorld(t: TestContext, more: NodeJS.ProcessEnv = {}) {
    const folder = temporary(t);
    const index = join(folder, 'index');
    const files = Object.entries(wheelFiles()).map(([name, content]) => ({ name, content }));
    const make = (requirement: string, top: string): Wheel => {
      const archive = zip(files.filter(({ name }) => name.startsWith(top)));
      put(join(index, `${requirement.replace('==', '-').replace(/-(?!\d)/g, '_')}-py3-none-any.whl`), archive);
      const sha256 = createHash('sha256').update(archive).digest('hex');
      return { requirement, sha256, bytes: archive.length, keep: (name) => !name.endsWith('.a') };
    };
    const wheels = [make('nvidia-cuda-runtime==13.0.96', 'nvidia/'), make('torch==2.11.0', 'torch/')];
    fakePython(join(folder, 'bin'));
    const server = await serve(t, Buffer.alloc(0));
    const log = join(folder, 'log');
    const env = environment(folder, `${server.url}/none`, {
      FAKE_INDEX: index,
      FAKE_LOG: log,
      BLIP_LIBTORCH_SOURCE: 'pip',
      ...more,
    });
    const downloads = () =>
      readFileSync(log, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('download'));
    return { folder, index, env, wheels, downloads, said: [] as string[] };
  }

  test('are unpacked side by side, so that the libraries find each other', async (t) => {
    const { folder, env, wheels, downloads, said } = await pipWorld(t);
    const root = await fetchLibtorch({ variant: 'cpu', env, wheels, say: (line) => said.push(line) });
    assert.equal(root, join(folder, 'cache', folderName, 'torch'));
    assert.match(said[0] ?? '', /^Downloading 2 files \(.* kB\) with .*python3 -m pip to .*downloads$/);
    assert.deepEqual(downloads(), ['download nvidia-cuda-runtime==13.0.96', 'download torch==2.11.0']);
    assert.equal(searchLibtorch({ env }).libtorch?.build, '2.11.0+cu130');
    assert.deepEqual(readdirSync(join(folder, 'cache', 'downloads')), []);
  });

  test('a finished wheel is kept when another fails, and pip says why', async (t) => {
    const { folder, env, wheels, downloads, said } = await pipWorld(t, { FAKE_FAILS: 'torch==2.11.0' });
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, wheels, say: silent }));
    assert.match(error.message, /^pip could not download torch==2\.11\.0 \(ERROR: No matching distribution found/);
    assert.equal(existsSync(join(folder, 'cache', folderName)), false);
    await fetchLibtorch({ variant: 'cpu', env: { ...env, FAKE_FAILS: '' }, wheels, say: (line) => said.push(line) });
    assert.match(said[0] ?? '', /^Downloading 1 file .*; 1 there already$/);
    assert.equal(downloads().filter((line) => line.includes('runtime')).length, 1);
  });

  test('a wheel with another digest is removed', async (t) => {
    const { folder, index, env, wheels } = await pipWorld(t);
    put(join(index, 'torch-2.11.0-py3-none-any.whl'), zip([{ name: 'torch/evil', content: 'evil' }]));
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, wheels, say: silent }));
    assert.match(
      error.message,
      /^The torch==2\.11\.0 that pip downloaded does not have the expected SHA-256 [0-9a-f]{64}/,
    );
    const kept = readdirSync(join(folder, 'cache', 'downloads'));
    assert.deepEqual(kept, ['nvidia_cuda_runtime-13.0.96-py3-none-any.whl']);
  });

  test('serve where the zip is not available, which is said', async (t) => {
    const { env, wheels, said } = await pipWorld(t);
    // Port 9 of this machine answers nobody.
    const away = { ...env, BLIP_LIBTORCH_SOURCE: '', BLIP_LIBTORCH_URL: 'http://127.0.0.1:9/none' };
    await fetchLibtorch({ variant: 'cpu', env: away, wheels, say: (line) => said.push(line) });
    assert.match(
      said[0] ?? '',
      /^The official zip is not available \(127\.0\.0\.1:9 cannot be reached: .*\)\. Using pip's wheels instead\.$/,
    );
  });
});

describe('when nothing can be fetched', () => {
  const unreachable = 'http://127.0.0.1:9';

  test('neither zip nor pip: both are named', async (t) => {
    const folder = temporary(t);
    // A virtual environment whose Python was uninstalled: it may be run, and does not start.
    chmodSync(put(join(folder, 'bin', 'python3'), '#!/nowhere/python3\n'), 0o755);
    const env = environment(folder, unreachable);
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, wheels: [], say: silent }));
    assert.match(
      error.message,
      /127\.0\.0\.1:9 cannot be reached: .*, and no pip was found on PATH\. Install pip .*LIBTORCH/,
    );
  });

  test('the zip alone was asked for', async (t) => {
    const env = environment(temporary(t), unreachable, { BLIP_LIBTORCH_SOURCE: 'zip' });
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, say: silent }));
    assert.match(error.message, /cannot be downloaded: 127\.0\.0\.1:9 cannot be reached.*BLIP_LIBTORCH_SOURCE/);
  });

  test('pip has no LibTorch for an old driver', async (t) => {
    const env = environment(temporary(t), unreachable, { BLIP_LIBTORCH_SOURCE: 'pip' });
    const error = await failure(fetchLibtorch({ variant: 'cu126', env, say: silent }));
    assert.match(error.message, /CUDA 13 only, which needs NVIDIA driver 580 or newer\. Update the driver/);
  });

  test('a mirror that is no address is an error, not a reason to go elsewhere', async (t) => {
    const env = environment(temporary(t), 'ftp://user:secret@mirror.test/libtorch');
    const error = await failure(fetchLibtorch({ variant: 'cpu', env, say: silent }));
    assert.match(error.message, /^ftp:\/\/mirror\.test\/.* is not an address to download from\./);
  });

  test('a source that does not exist, and a digest that has nothing to hold for, are wrong usage', async (t) => {
    const curious = environment(temporary(t), unreachable, { BLIP_LIBTORCH_SOURCE: 'ftp' });
    const first = await failure(fetchLibtorch({ variant: 'cpu', env: curious, say: silent }));
    assert.deepEqual([first.exitCode, first.message.split('.')[0]], [2, 'BLIP_LIBTORCH_SOURCE is ftp']);
    const pip = environment(temporary(t), unreachable, { BLIP_LIBTORCH_SOURCE: 'pip' });
    const second = await failure(
      fetchLibtorch({ variant: 'cpu', env: pip, sha256: 'a'.repeat(64), wheels: [], say: silent }),
    );
    assert.equal(second.exitCode, 2);
    assert.match(second.message, /^--sha256 is for the zip/);
  });
});
