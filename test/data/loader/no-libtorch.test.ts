// What images need of the addon: image.node for a loader's threads, nothing for check-data, LibTorch for neither.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { projectRoot } from '../../helpers/fixtures.js';

const golden = join(projectRoot, 'test/golden/rule_tiny/data');

/** Runs `code` in a Node of its own; its output ends with the libraries that it has then mapped, of those asked about. */
function libraries(code: string, env: NodeJS.ProcessEnv = {}): { status: number | null; text: string; mapped: string } {
  const look = `
    import { readFileSync } from 'node:fs';
    const maps = readFileSync('/proc/self/maps', 'utf8');
    const names = ['libtorch', 'libc10', 'torch.node', 'boot.node', 'image.node', 'libvips'];
    console.log('mapped:' + names.filter((name) => maps.includes(name)));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code + look], {
    cwd: projectRoot,
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  const [text = '', mapped = ''] = stdout.split('mapped:');
  return { status, text: text + stderr, mapped: mapped.trim() };
}

const checkData = `
  import { checkData } from '#blip/commands/check-data.js';
  const root = ${JSON.stringify(golden)};
  checkData({ imageRoot: root + '/images', annRoot: root + '/annotation', dataset: 'coco' }, {}, process.stdout);`;

/** Loads one of two images, a bad one as the mean colour; its thread, waiting to load the other, is still there. */
const load = (transform: string) => `
  import { readdirSync } from 'node:fs';
  import { ImageLoader } from '#blip/data/loader/loader.js';
  const root = ${JSON.stringify(join(golden, 'images/val'))};
  const paths = readdirSync(root).slice(0, 2).map((name) => root + '/' + name);
  const options = { batchSize: 1, slots: 1, workers: 1, skipBadImages: true };
  const loader = new ImageLoader({ paths, size: 96, ...options, transform: ${transform} });
  console.log(loader.next().bad.length);`;

const TRANSFORMS = ["{ kind: 'evaluation' }", "{ kind: 'train', seed: 1, epoch: 0, first: 0 }"];
/** Where node-gyp-build is to look for the addon: it is not built there. */
const WITHOUT_ADDON = { BLIP_RETRIEVAL_PREBUILD: '/nonexistent' };

test('check-data loads neither LibTorch nor any addon', () => {
  const { status, text, mapped } = libraries(checkData);
  assert.equal(status, 0, text);
  assert.match(text, /: no defect\n$/);
  assert.equal(mapped, 'libvips');
});

test('check-data works without an addon', () => {
  const { status, text } = libraries(checkData, WITHOUT_ADDON);
  assert.equal(status, 0, text);
  assert.match(text, /: no defect\n$/);
});

for (const transform of TRANSFORMS) {
  test(`a loader with ${transform} loads image.node and no LibTorch`, () => {
    const { status, text, mapped } = libraries(load(transform));
    assert.deepEqual([status, text], [0, '0\n']);
    assert.equal(mapped, 'image.node,libvips');
  });

  test(`a loader with ${transform} ends without image.node, even if bad images are skipped`, () => {
    const { status, text } = libraries(load(transform), WITHOUT_ADDON);
    assert.equal(status, 1);
    assert.match(
      text,
      /UserError: An image loader thread ended .*: The native addon is not built in .*setup.*\w"?\.\n/,
    );
  });
}
