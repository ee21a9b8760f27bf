// A process killed by -9 while it saves: under the final names there is always a whole checkpoint, the old or the new one.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '#blip/data/random.js';
import { flattenCheckpoint, openCheckpoint, verifyStorages } from '#blip/torch/checkpoint/index.js';
import { projectRoot } from '../../helpers/fixtures.js';
import { start } from '../../helpers/ranks.js';
import { runTrial, type Trial, type TrialOptions } from './trial.js';

const CHILD = join(projectRoot, '.build/test/faults/trials/saving-child.js');
const NAMES = ['last', 'best'] as const;
type Name = (typeof NAMES)[number];

const startSaving = (folder: string, ...numbers: number[]) =>
  start(process.execPath, [CHILD, folder, ...numbers.map(String)]);

/** The number in the whole checkpoint `name`. Throws when it is not whole. */
async function numberOf(folder: string, name: Name): Promise<number> {
  const checkpoint = openCheckpoint(join(folder, `checkpoint_${name}.pth`));
  await verifyStorages(checkpoint);
  return Number(flattenCheckpoint(checkpoint).values.get('epoch'));
}

const temporaries = (folder: string) => readdirSync(folder).filter((name) => name.endsWith('.tmp'));

/** The last number that was said of `what`: `saving last`, for instance. */
const lastSaid = (stdout: string, what: string) =>
  Number([...stdout.matchAll(RegExp(`^${what} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? 0);

/** Kills a saving process in each trial, all in one folder, so that what is left behind would pile up. */
export async function runSavingTrials(options: Omit<TrialOptions, 'config'>): Promise<Trial[]> {
  const { trials, seed, folder } = options;
  const random = new Random(seed);
  const done: Trial[] = [];
  const complete = async (number: number) => {
    const { code, stderr } = await startSaving(folder, number, number).ended;
    assert.equal(code, 0, stderr);
  };
  await complete(1);
  const started = performance.now();
  await startSaving(folder, 2, 3).says('saved best 3');
  // Start-up is in it too: kills come before, in and after the first saves.
  const span = performance.now() - started;
  const saved: Record<Name, number> = { last: 3, best: 3 };
  let next = 4;
  for (let number = 1; number <= trials; number++) {
    const milliseconds = random.between(0, span / 2);
    const drawn = `${milliseconds.toFixed(0)} ms after the first save began`;
    const trial = await runTrial(options, { subject: 'saving', number, drawn }, async () => {
      const child = startSaving(folder, next);
      await child.says('saving last');
      await sleep(milliseconds);
      child.kill('SIGKILL');
      const { stdout, signal, stderr } = await child.ended;
      assert.equal(signal, 'SIGKILL', stderr);
      const seen: string[] = [];
      for (const name of NAMES) {
        const old = Math.max(saved[name], lastSaid(stdout, `saved ${name}`));
        const begun = Math.max(old, lastSaid(stdout, `saving ${name}`));
        const found = await numberOf(folder, name);
        assert.ok(
          found === old || found === begun,
          `checkpoint_${name}.pth is number ${found}, not ${old} or ${begun}`,
        );
        saved[name] = found;
        next = Math.max(next, begun + 1);
        if (begun > old) seen.push(`${name} is the ${found === old ? 'old' : 'new'} one`);
      }
      const left = temporaries(folder);
      for (const name of NAMES)
        assert.ok(left.filter((file) => file.includes(name)).length <= 1, `temporary files pile up: ${left}`);
      return `killed ${seen.length > 0 ? 'while saving' : 'between two saves'}, ${[...seen, `${left.length} temporary`].join(', ')}`;
    });
    done.push(trial);
    if (trial.end === 'failed') await complete(next++);
  }
  // Two saves that are left alone clear everything away.
  const drawn = 'two saves left alone';
  const last = await runTrial(options, { subject: 'saving', number: trials + 1, drawn }, async () => {
    await complete(next);
    for (const name of NAMES) assert.equal(await numberOf(folder, name), next);
    assert.deepEqual(temporaries(folder), [], 'temporary files are left');
    return 'both are the new ones, no temporary is left';
  });
  return [...done, last];
}
