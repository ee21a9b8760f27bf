// A process that indexes and syncs, killed by -9 at a random instant: the index opens, is whole, and is completed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '#blip/data/random.js';
import { sha256OfFile } from '#blip/disk/sha256.js';
import { at } from '#blip/errors.js';
import { type ImageIndex, Retriever } from '#blip/index.js';
import { projectRoot } from '../../helpers/fixtures.js';
import { runTrial, type Trial, type TrialOptions } from './trial.js';

/** Milliseconds from the child's first line to the last kill. */
const MOST_MS = 1200;

/** Starts the child and kills it. @returns what it had said on stderr */
async function strike(args: readonly string[], milliseconds: number): Promise<string> {
  const child = spawn(process.execPath, [join(projectRoot, '.build/test/faults/trials/index-child.js'), ...args], {
    cwd: projectRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), ended]);
  await sleep(milliseconds);
  child.kill('SIGKILL');
  await ended;
  return stderr;
}

/** Reads everything that the index has: each row's neighbours, image and tokens. */
async function readAll(index: ImageIndex): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of index.images()) ids.push(id);
  assert.equal(new Set(ids).size, ids.length, 'an image is there twice');
  assert.equal(ids.length, index.size);
  for (const id of ids) {
    const [nearest] = await index.search({ id }, { top: 1 });
    assert.ok(nearest !== undefined && nearest.similarity > 1 - 1e-5);
  }
  return ids.sort();
}

/** Each trial kills a process, some of them the one that goes on with what the one before left. */
export async function runIndexKillTrials(
  options: Omit<TrialOptions, 'config'> & { checkpoint: string; photos: string },
): Promise<Trial[]> {
  const { trials, seed, folder, checkpoint, photos } = options;
  const random = new Random(seed);
  const blip = await Retriever.open(checkpoint, { device: 'cpu' });
  const done: Trial[] = [];
  for (let number = 1; number <= trials; number++) {
    const images = join(folder, `photos ${Math.ceil(number / 2)}`); // two kills for each
    const milliseconds = random.between(0, MOST_MS);
    const childSeed = Math.ceil(number / 2) + 2 * random.below(1000);
    const drawn = `after ${milliseconds.toFixed(0)} ms, seed ${childSeed}`;
    const trial = await runTrial(options, { subject: 'kill of an indexing', number, drawn }, async () => {
      const stderr = await strike([checkpoint, photos, images, String(childSeed)], milliseconds);
      assert.equal(stderr, '');
      const path = `${images}.index`;
      if (!existsSync(join(path, 'manifest.json'))) return 'no index yet';
      const index = await blip.openIndex(path);
      const before = (await readAll(index)).length;
      const orphans = readdirSync(join(path, 'segments')).length;
      const report = await index.sync();
      assert.deepEqual(report.bad, []);
      assert.deepEqual(await readAll(index), readdirSync(images).sort());
      for await (const { id, digest } of index.images()) assert.equal(digest, await sha256OfFile(join(images, id)));
      const [hit] = await index.search('a red circle', { rerank: 2 });
      assert.ok(hit?.probability !== undefined);
      await index.compact();
      await index.remove([at(readdirSync(images), 0)]);
      await index.sync();
      await index.close();
      const manifest: { segments: { name: string }[] } = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'));
      const names = manifest.segments.map(({ name }) => name);
      const left = readdirSync(join(path, 'segments')).filter((name) => !names.some((known) => name.startsWith(known)));
      assert.deepEqual(left, [], 'files are left of the one that was killed');
      assert.deepEqual(readdirSync(path).sort(), ['manifest.json', 'segments'], 'temporary files or a lock are left');
      return `${before} images, ${orphans} files; completed with ${report.added} new, ${report.renamed} renamed, ${report.removed} gone`;
    });
    done.push(trial);
  }
  await blip.close();
  return done;
}
