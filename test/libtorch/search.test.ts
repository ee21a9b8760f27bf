// Where LibTorch is looked for, in which order, and what is said of each place that does not serve.
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, rmSync, truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { describeSearch, inspectLibtorch, readVersion, sameMinor, searchLibtorch } from '#blip/libtorch/search.js';
import { barredFrom } from '../helpers/barred.js';
import { fakePython, fakeTorch, library, put } from '../helpers/fake-libtorch.js';
import { temporaryFolder } from '../helpers/files.js';

/** An environment in which every source has a LibTorch of its own version. */
function everywhere(folder: string) {
  const roots = {
    explicit: fakeTorch(join(folder, 'explicit'), { version: '2.10.0' }),
    recorded: fakeTorch(join(folder, 'recorded'), { version: '2.11.1' }),
    python: fakeTorch(join(folder, 'site'), { version: '2.12.0+cu130' }),
    cache: fakeTorch(join(folder, 'cache', 'libtorch-2.11.0-cpu')),
  };
  fakePython(join(folder, 'bin'));
  const env = {
    PATH: join(folder, 'bin'),
    BLIP_CACHE: join(folder, 'cache'),
    FAKE_TORCH: roots.python,
    FAKE_SITE: join(folder, 'site'),
    FAKE_LOG: join(folder, 'log'),
  };
  return { roots, env };
}

describe('the order of the search', () => {
  test('LIBTORCH, the recorded build, Python, the cache', (t) => {
    const { roots, env } = everywhere(temporaryFolder(t));
    const find = (variables: NodeJS.ProcessEnv, recorded?: string) =>
      searchLibtorch({ env: { ...env, ...variables }, recorded }).libtorch;
    const first = find({ LIBTORCH: roots.explicit }, roots.recorded);
    assert.deepEqual([first?.root, first?.source, first?.version], [roots.explicit, 'LIBTORCH', '2.10.0']);
    assert.deepEqual([find({}, roots.recorded)?.root, find({}, roots.recorded)?.source], [roots.recorded, 'build']);
    const third = find({});
    assert.deepEqual([third?.root, third?.source, third?.build], [roots.python, 'python', '2.12.0+cu130']);
    const fourth = find({ LIBTORCH_USE_PYTORCH: '0' });
    assert.deepEqual([fourth?.root, fourth?.source], [roots.cache, 'cache']);
  });

  test('LIBTORCH that does not serve ends the search: the user named it', (t) => {
    const folder = temporaryFolder(t);
    const { env } = everywhere(folder);
    const search = searchLibtorch({ env: { ...env, LIBTORCH: join(folder, 'nowhere') } });
    assert.equal(search.libtorch, undefined);
    assert.deepEqual(search.looked, [
      { source: 'LIBTORCH', place: join(folder, 'nowhere'), outcome: 'there is no such folder' },
    ]);
  });

  test('the option stands for LIBTORCH', (t) => {
    const { roots, env } = everywhere(temporaryFolder(t));
    const search = searchLibtorch({ env: { ...env, LIBTORCH: '/nowhere' }, libtorch: roots.explicit });
    assert.equal(search.libtorch?.root, roots.explicit);
  });

  test('LIBTORCH_USE_PYTORCH=0 runs no Python', (t) => {
    const folder = temporaryFolder(t);
    const { env } = everywhere(folder);
    searchLibtorch({ env: { ...env, LIBTORCH_USE_PYTORCH: '0' } });
    assert.throws(() => readFileSync(env.FAKE_LOG), { code: 'ENOENT' });
  });

  test('the interpreter of the active environment comes before PATH', (t) => {
    const folder = temporaryFolder(t);
    const { env } = everywhere(folder);
    fakePython(join(folder, 'venv', 'bin'), 'python');
    const search = searchLibtorch({
      env: { ...env, VIRTUAL_ENV: join(folder, 'venv'), FAKE_TORCH: '', BLIP_CACHE: join(folder, 'none') },
    });
    const asked = search.looked.filter(({ source }) => source === 'python').map(({ place }) => place);
    assert.deepEqual(asked, [
      `${join(folder, 'venv/bin/python')} (Python 3.11.7)`,
      `${join(folder, 'bin/python3')} (Python 3.11.7)`,
    ]);
  });

  test('a Python is asked again only after its packages or the program changed', (t) => {
    const folder = temporaryFolder(t);
    const { env } = everywhere(folder);
    const asked = () => readFileSync(env.FAKE_LOG, 'utf8').trim().split('\n').length;
    for (let i = 0; i < 3; i++) assert.equal(searchLibtorch({ env }).libtorch?.source, 'python');
    assert.equal(asked(), 1);
    utimesSync(env.FAKE_SITE, new Date(0), new Date(0));
    searchLibtorch({ env });
    assert.equal(asked(), 2);
    fakePython(env.PATH);
    utimesSync(join(env.PATH, 'python3'), new Date(0), new Date(0));
    searchLibtorch({ env });
    assert.equal(asked(), 3);
  });

  test('with CUDA wanted, what has none is passed over, and so is what lacks a library for it', (t) => {
    const folder = temporaryFolder(t);
    const { roots, env } = everywhere(folder);
    const cuda = fakeTorch(join(folder, 'cache', 'libtorch-2.11.0-cu130'), { cuda: true });
    const search = searchLibtorch({ env, needCuda: true });
    assert.equal(search.libtorch?.root, cuda);
    assert.ok(search.looked.some(({ place, outcome }) => place === roots.python && outcome === 'it has no CUDA'));
    rmSync(join(cuda, '../nvidia/nccl'), { recursive: true });
    const broken = searchLibtorch({ env, needCuda: true });
    assert.equal(broken.libtorch, undefined);
    assert.match(
      broken.looked.find(({ place }) => place === cuda)?.outcome ?? '',
      /^its CUDA libraries cannot be opened: libnccl\.so\.2 is missing$/,
    );
    const forCpu = searchLibtorch({ env: { ...env, LIBTORCH_USE_PYTORCH: '0' } });
    assert.deepEqual([forCpu.libtorch?.missingForCuda, forCpu.libtorch?.hasNccl], [['libnccl.so.2'], false]);
  });

  test('the description names every place and what came of it', (t) => {
    const folder = temporaryFolder(t);
    const env = { PATH: '', BLIP_CACHE: join(folder, 'cache') };
    assert.equal(
      describeSearch(searchLibtorch({ env, recorded: join(folder, 'gone') })),
      [
        'LibTorch was searched for, in this order:',
        '  LIBTORCH: $LIBTORCH: not set',
        `  the addon's build: ${join(folder, 'gone')}: there is no such folder`,
        "  Python: Python's torch: no working Python on PATH",
        `  the user cache: ${join(folder, 'cache')}: nothing downloaded yet`,
      ].join('\n'),
    );
  });
});

describe('one folder', () => {
  const defect = (root: string, env: NodeJS.ProcessEnv = {}) => {
    const result = inspectLibtorch(root, 'LIBTORCH', env);
    assert.equal(typeof result, 'string', 'the folder was accepted');
    return String(result);
  };

  test('one that may not be entered is not absent', (t) => {
    const folder = temporaryFolder(t);
    chmodSync(folder, 0o755);
    const root = fakeTorch(join(folder, 'others'));
    const said = barredFrom(join(folder, 'others'), () => defect(root));
    const remedy = 'Change the permissions of it and of the folders above it';
    assert.equal(said, `this user may not look into ${root}. ${remedy}`);
    put(join(folder, 'file'), '');
    assert.equal(defect(join(folder, 'file')), 'it is not a folder');
  });

  test('a whole one', (t) => {
    const root = fakeTorch(temporaryFolder(t), { cuda: true });
    assert.deepEqual(inspectLibtorch(root, 'python', {}), {
      root,
      lib: join(root, 'lib'),
      include: join(root, 'include'),
      version: '2.11.0',
      build: '2.11.0+cu130',
      source: 'python',
      hasCuda: true,
      missingForCuda: [],
      hasNccl: true,
    });
  });

  test('a missing library is named, and the wheel that brings it', (t) => {
    const without = (name: string) => fakeTorch(temporaryFolder(t), { without: [name] });
    assert.equal(defect(without('torch/lib/libc10.so')), 'it has no lib/libc10.so');
    assert.equal(defect(without('torch/lib/libtorch_cpu.so')), 'it has no lib/libtorch_cpu.so');
    const noRuntime = without('nvidia/cu13/lib/libcudart.so.13');
    assert.equal(
      defect(noRuntime),
      "lib/libtorch_cpu.so cannot be opened: libcudart.so.13 is missing. Run pip install 'nvidia-cuda-runtime==13.*'",
    );
    const elsewhere = temporaryFolder(t);
    put(join(elsewhere, 'libcudart.so.13'), library());
    assert.equal(typeof inspectLibtorch(noRuntime, 'python', { LD_LIBRARY_PATH: elsewhere }), 'object');
  });

  test('a library that was cut short, or is none, or is for another processor', (t) => {
    const root = fakeTorch(temporaryFolder(t));
    const cpu = join(root, 'lib/libtorch_cpu.so');
    const whole = readFileSync(cpu);
    truncateSync(cpu, whole.length - 1);
    assert.equal(defect(root), 'lib/libtorch_cpu.so is damaged or is not a shared library for this system');
    put(cpu, '<html>not found</html>');
    assert.equal(defect(root), 'lib/libtorch_cpu.so is damaged or is not a shared library for this system');
    put(cpu, library({ machine: 8 }));
    assert.equal(defect(root), `lib/libtorch_cpu.so is for a processor other than ${process.arch}`);
  });

  test('the C++ ABI of before C++11 is refused', (t) => {
    const root = fakeTorch(temporaryFolder(t));
    put(join(root, 'lib/libc10.so'), library({ text: '_ZNSs4swapERSs' }));
    assert.match(defect(root), /C\+\+ ABI from before C\+\+11/);
  });

  test('versions 2.9 to 2.13 are accepted, others only on demand', (t) => {
    for (const version of ['2.9.0', '2.9.1+cpu', '2.11.0', '2.13.2+cu130']) {
      assert.equal(typeof inspectLibtorch(fakeTorch(temporaryFolder(t), { version }), 'python', {}), 'object', version);
    }
    for (const version of ['1.11.0', '2.8.0+cpu', '2.14.0', '3.10.0', '2.90.0']) {
      const root = fakeTorch(temporaryFolder(t), { version });
      assert.match(
        defect(root),
        new RegExp(`^version ${version.split('+')[0]?.replaceAll('.', '\\.')} is outside 2\\.9 to 2\\.13`),
      );
      const env = { LIBTORCH_BYPASS_VERSION_CHECK: '1' };
      assert.equal(typeof inspectLibtorch(root, 'python', env), 'object', version);
      assert.match(defect(root, { LIBTORCH_BYPASS_VERSION_CHECK: '0' }), /is outside/);
    }
  });

  test('the version comes from build-version, version.py or version.h', (t) => {
    const root = temporaryFolder(t);
    assert.equal(readVersion(root), undefined);
    const header = '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 10\n#define TORCH_VERSION_PATCH 3\n';
    put(join(root, 'include/torch/headeronly/version.h'), header);
    assert.equal(readVersion(root), '2.10.3');
    put(join(root, 'version.py'), "__version__ = '2.12.0a0+git123'\n");
    assert.equal(readVersion(root), '2.12.0a0+git123');
    put(join(root, 'build-version'), '2.11.0+cpu\n');
    assert.equal(readVersion(root), '2.11.0+cpu');
    const unknown = fakeTorch(temporaryFolder(t), { without: ['torch/version.py'] });
    assert.match(defect(unknown), /^its version is in neither /);
  });

  test('an ABI holds within a minor version', () => {
    assert.equal(sameMinor('2.11.0+cu130', '2.11.2+cpu'), true);
    assert.equal(sameMinor('2.11.0', '2.1.0'), false);
  });
});
