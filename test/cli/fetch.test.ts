// Weights by name, as a user meets them: `models`, `fetch`, and a name in the place of a file in a run and in `inspect`.
// Covers commands/{fetch,models}, download/{pretrained-file,published-models}.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { PUBLISHED_MODELS } from '#blip/download/published-models.js';
import { content, digest, serve } from '../helpers/download-server.js';
import { fakeHub } from '../helpers/fake-hub.js';
import { noise, temporaryFolder } from '../helpers/files.js';
import { runCli } from '../helpers/run-cli.js';
import { evaluationValues, tinyCheckpoint, writeConfigFile } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const work = temporaryFolder();
const torchFile = join(folder, 'torch/hub/checkpoints/model_base_retrieval_coco.pth');
const env = { TORCH_HOME: join(folder, 'torch'), HF_HOME: join(folder, 'hf'), HF_HUB_OFFLINE: '1', HF_TOKEN: '' };
const COMMIT = 'abcdef0123456789abcdef0123456789abcdef01';
let checkpoint: string;

const run = (args: string[], more: NodeJS.ProcessEnv = {}) => runCli(args, { ...env, ...more }, work);

before(async () => {
  checkpoint = await tinyCheckpoint(folder);
  mkdirSync(join(torchFile, '..'), { recursive: true });
  copyFileSync(checkpoint, torchFile); // as if torch.hub had fetched it
});

test('models lists what there is in 80 columns, and what is here', async () => {
  const { code, stdout, stderr } = await run(['models']);
  assert.equal(code, 0, stderr);
  const here = `coco-base: ${torchFile}`;
  const lines = stdout.split('\n').filter((line) => line !== here);
  assert.deepEqual(
    lines.filter((line) => line.length > 80),
    [],
  );
  assert.ok(stdout.includes(`\n${here}\n`));
  assert.match(stdout, /^coco-base +base +384 +1\.9 GB +yes +fine-tuned on COCO$/m);
  assert.match(stdout, /^coco-base-hf +base +384 +0\.9 GB +no +the same, of Hugging Face$/m);
  for (const { name } of PUBLISHED_MODELS) assert.match(stdout, new RegExp(`^${name} `, 'm'));
  const rows: { name: string; cached: string | null; source: string }[] = JSON.parse(
    (await run(['models', '--json'])).stdout,
  );
  assert.deepEqual(
    rows.filter(({ cached }) => cached !== null).map(({ name, cached }) => [name, cached]),
    [['coco-base', torchFile]],
  );
  const bucket = 'https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/';
  assert.equal(rows.find(({ name }) => name === 'flickr-large')?.source, `${bucket}model_large_retrieval_flickr.pth`);
  assert.equal(rows.find(({ name }) => name === 'flickr-large-hf')?.source, 'hf:Salesforce/blip-itm-large-flickr');
  assert.equal(new Set(rows.map(({ name }) => name)).size, rows.length);
});

test('fetch prints the path alone to stdout, and what it does to stderr', async (t) => {
  const server = await serve(t, (_request, response) =>
    response.writeHead(200, { 'content-length': content.length }).end(content),
  );
  const path = join(env.TORCH_HOME, 'hub/checkpoints/file.pth');
  const first = await run(['fetch', server.url, '--sha256', digest]);
  assert.equal(first.code, 0, first.stderr);
  assert.equal(first.stdout, `${path}\n`);
  assert.equal(first.stderr, `Downloading ${server.url} (300.0 kB) to ${path}\n`);
  assert.ok(readFileSync(path).equals(content));
  const again = await run(['fetch', server.url, '--offline']);
  assert.deepEqual([again.stdout, again.stderr], [`${path}\n`, '']);
  assert.equal(server.requests.length, 1);
  const other = await run(['fetch', server.url.replace('file', 'other'), '--offline']);
  assert.deepEqual([other.code, other.stdout], [1, '']);
  assert.match(other.stderr, /^error: .*other\.pth is absent and cannot be downloaded offline\./);
});

test('fetch says each tenth of a large file', async (t) => {
  const large = Buffer.from(noise(3_000_000));
  const server = await serve(t, (_request, response) =>
    response.writeHead(200, { 'content-length': large.length }).end(large),
  );
  const { stderr } = await run(['fetch', server.url.replace('file', 'large')]);
  assert.match(
    stderr,
    /^Downloading http:.*large\.pth \(3\.0 MB\) to .*\n {2}10 % of 3\.0 MB\n {2}20 % [\s\S]*90 % of 3\.0 MB\n$/,
  );
});

test('a short name is taken wherever a file is, and a file of that name is taken before', async () => {
  assert.equal((await run(['fetch', 'coco-base'])).stdout, `${torchFile}\n`);
  const inspected = await run(['inspect', 'coco-base']);
  assert.equal(inspected.code, 0, inspected.stderr);
  assert.ok(inspected.stdout.startsWith(`${torchFile}: zip format`));
  const config = writeConfigFile(join(folder, 'named.yaml'), evaluationValues('coco-base'));
  const args = ['--config', config, '--evaluate', '--device', 'cpu', '--output_dir'];
  const named = await run([...args, join(folder, 'named')]);
  assert.equal(named.code, 0, named.stderr);
  assert.ok(named.stdout.includes(`load checkpoint from ${torchFile}:`));

  const set = await run([...args, join(folder, 'set'), '--set', 'pretrained=flickr-large-hf']);
  assert.equal(set.code, 1);
  assert.match(set.stderr, /hf:Salesforce\/blip-itm-large-flickr is not in .*, and HF_HUB_OFFLINE forbids/);

  mkdirSync(join(work, 'coco-base')); // a folder of results, say
  assert.equal((await run(['fetch', 'coco-base'])).stdout, `${torchFile}\n`);
  copyFileSync(checkpoint, join(work, 'coco-base/pytorch_model.bin'));
  assert.equal((await run(['fetch', 'coco-base'])).stdout, 'coco-base/pytorch_model.bin\n');
  writeFileSync(join(work, 'coco-large'), 'mine');
  assert.equal((await run(['fetch', 'coco-large'])).stdout, 'coco-large\n');
});

test('a run takes a model from the hub, and once it is here, from its cache', async (t) => {
  const files = { 'pytorch_model.bin': readFileSync(checkpoint), 'config.json': Buffer.from('{}') };
  const hub = await fakeHub(t, { 'me/tiny': { commit: COMMIT, files } });
  const config = writeConfigFile(join(folder, 'hub.yaml'), evaluationValues('hf:me/tiny'));
  const args = ['--config', config, '--evaluate', '--device', 'cpu', '--output_dir'];
  const weights = join(env.HF_HOME, `hub/models--me--tiny/snapshots/${COMMIT}/pytorch_model.bin`);
  const first = await run([...args, join(folder, 'first')], { HF_HUB_OFFLINE: '', HF_ENDPOINT: hub.endpoint });
  assert.equal(first.code, 0, first.stderr);
  assert.match(
    first.stdout,
    /^Downloading pytorch_model\.bin of hf:me\/tiny \(.* MB\) to .*models--me--tiny\/snapshots\/abcdef/m,
  );
  assert.ok(first.stdout.includes(`load checkpoint from ${weights}:`));
  const second = await run([...args, join(folder, 'second')]);
  assert.equal(second.code, 0, second.stderr);
  assert.doesNotMatch(second.stdout, /Downloading/);
  assert.deepEqual(readFileSync(join(folder, 'first/evaluate.txt')), readFileSync(join(folder, 'second/evaluate.txt')));
  assert.equal((await run(['fetch', 'hf:me/tiny'])).stdout, `${weights}\n`);
});

test('what is no source has a sentence with what to write', async () => {
  mkdirSync(join(work, 'empty'));
  mkdirSync(join(work, 'parts'));
  writeFileSync(join(work, 'parts/model.safetensors.index.json'), '{}');
  for (const [source, sentence] of [
    [
      'nothing.pth',
      /^error: The checkpoint nothing\.pth does not exist\. Give the path of a file, a URL, hf:OWNER\/NAME, or a name/,
    ],
    ['Salesforce/blip-itm-base-coco', /For a model of Hugging Face, write hf:Salesforce\/blip-itm-base-coco\./],
    ['empty', /^error: empty is a folder without model\.safetensors or pytorch_model\.bin\./],
    ['parts', /^error: The weights of the folder parts are in several files \(model\.safetensors\.index\.json\)/],
    ['hf:blip', /Write hf:OWNER\/NAME or hf:OWNER\/NAME@REVISION/],
    [
      'https://huggingface.co/Salesforce/blip-itm-base-coco',
      /is a page, not a file\. .* write hf:Salesforce\/blip-itm-base-coco\./,
    ],
    ['https://huggingface.co/a/b/blob/v1/model.safetensors', /is a page, not a file\. .* write hf:a\/b@v1\./],
    ['ftp://a/b', /does not exist\. Give/],
  ] as const) {
    const { code, stdout, stderr } = await run(['fetch', source]);
    assert.ok(code === 1 || code === 2, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, sentence);
    assert.doesNotMatch(stderr, /^ +at /m);
  }
  assert.equal(existsSync(join(env.HF_HOME, 'hub/models--Salesforce--blip-itm-base-coco')), false);
});
