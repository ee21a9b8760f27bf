// The law tests find what they are for: each fault is planted in a copy, where the test must fail in the statistic that
// should see it. Those that see dropout by the reference's training steps take minutes: planted.trial-test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lawSkip } from '../helpers/law.js';
import { plant, runThere } from '../helpers/planted.js';
import { droppingsTogether, images, negatives } from './plants.js';

/** What the law test `program` of the copy in `folder` says; it must fail. */
async function found(
  folder: string,
  program: string,
  { share = 1, only }: { share?: number; only?: string } = {},
): Promise<string> {
  const env = { BLIP_LAW_SHARE: `${share}` };
  const { code, stdout, stderr } = await runThere(folder, program, env, only === undefined ? {} : { only });
  assert.equal(code, 1, `${program} has found nothing: ${stdout}${stderr}`);
  return stdout;
}

for (const [number, together] of droppingsTogether.entries())
  test(`the closed form finds each of the faults that are planted together, group ${number}`, async (t) => {
    const output = await found(plant(together, t), 'law/dropout.test', { share: 0.5, only: '(cpu, fp32)' });
    for (const { fault, seen } of together) await t.test(fault, () => assert.match(output, seen));
  });

for (const negative of negatives)
  test(`${negative.fault}: the negatives drawn show it`, async (t) => {
    assert.match(await found(plant([negative], t), 'law/negatives.test', { share: 0.5 }), negative.seen);
  });

for (const image of images)
  test(`${image.fault}: the images drawn show it`, async (t) => {
    const folder = plant([image], t);
    assert.match(await found(folder, image.without.program), image.without.seen);
    if (lawSkip) return t.diagnostic(`${lawSkip}`);
    assert.match(await found(folder, 'law/augmentation.test'), /image of row 0: .*\n.*image of row 8: /);
  });
