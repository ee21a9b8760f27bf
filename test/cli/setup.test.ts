// `setup` from the command line: wrong usage, and what it says where nothing can be found.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../helpers/fixtures.js';
import { fakeTorch, temporary } from '../setup/fake-libtorch.js';

function setup(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { LIBTORCH: _, ...inherited } = process.env;
  const options = { env: { ...inherited, LIBTORCH_USE_PYTORCH: '0', ...env }, encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(projectRoot, 'dist/cli.js'), 'setup', ...args],
    options,
  );
  return { status, stdout, stderr };
}

test('options that contradict each other or make no sense are wrong usage', () => {
  const both = setup(['--cuda', '--cpu']);
  assert.deepEqual([both.status, both.stdout], [2, '']);
  assert.match(both.stderr, /--cuda and --cpu exclude each other\. Give one, or neither to let the driver decide\./);
  const digest = setup(['--sha256', 'abc']);
  assert.equal(digest.status, 2);
  assert.match(digest.stderr, /--sha256 is "abc"\. Give 64 hexadecimal digits\./);
  assert.equal(setup(['--no-such-option']).status, 2);
});

// --force: not the LibTorch of the last build, but one looked for anew.
for (const [name, args, env] of [
  ['--offline', ['--offline'], {}],
  ['npm_config_offline=true', [], { npm_config_offline: 'true' }],
  ['BLIP_SKIP_DOWNLOAD=1', [], { BLIP_SKIP_DOWNLOAD: '1' }],
] as const) {
  test(`${name} downloads nothing, and says where was looked`, (t) => {
    const cache = join(temporary(t), 'cache');
    const { status, stderr } = setup(['--force', ...args], { BLIP_CACHE: cache, ...env });
    assert.equal(status, 1);
    assert.match(
      stderr,
      new RegExp(`^error: No usable LibTorch was found, and ${name} forbids a download\\. Install PyTorch`),
    );
    assert.match(stderr, /\n {2}LIBTORCH: \$LIBTORCH: not set\n {2}Python: .*LIBTORCH_USE_PYTORCH=0\n/);
    assert.ok(stderr.includes(`the user cache: ${cache}: nothing downloaded yet`));
    assert.equal(existsSync(cache), false);
  });
}

test('a LibTorch that was named and does not serve is an error, not a reason to take another', (t) => {
  const folder = temporary(t);
  const root = fakeTorch(folder, { without: ['nvidia/cu13/lib/libcudart.so.13'] });
  const option = setup(['--libtorch', root]);
  assert.equal(option.status, 1);
  assert.match(
    option.stderr,
    /^error: --libtorch is .*: lib\/libtorch_cpu\.so cannot be opened: libcudart\.so\.13 is missing\. Run pip install/,
  );
  const variable = setup([], { LIBTORCH: join(folder, 'nowhere') });
  assert.equal(variable.status, 1);
  assert.match(variable.stderr, /^error: LIBTORCH is .*nowhere: there is no such folder\. Name a LibTorch folder/);
  const cpuOnly = setup(['--cuda', '--libtorch', fakeTorch(join(folder, 'cpu'))]);
  assert.equal(cpuOnly.status, 1);
  assert.match(cpuOnly.stderr, /^error: --libtorch is .*: it has no CUDA\. /);
});

test('where everything is in place it says so, and where', () => {
  const { status, stdout, stderr } = setup([]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^LibTorch 2\.\d+\.\d+\S* \((CPU only|CPU and CUDA); as in the last build\): \//m);
  assert.match(stdout, /^The addon was up to date and loads: .*build\/Release \(/m);
  assert.match(stdout, /^Ready: /m);
});
