// The law tests find what they are for: each fault is planted in a copy, where the test must fail in the statistic that
// should see it. Those that see dropout by the reference's training steps take minutes: planted.trial-test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lawSkip } from '../helpers/law.js';
import { plant, runThere } from '../helpers/planted.js';
import { droppings, images, negatives } from './plants.js';

/** The law test `program` of the copy in `folder` fails as `seen` says. */
async function assertFound(
  folder: string,
  program: string,
  seen: RegExp,
  { share = 1, only }: { share?: number; only?: string } = {},
): Promise<void> {
  const env = { BLIP_LAW_SHARE: `${share}` };
  const { code, stdout, stderr } = await runThere(folder, program, env, only === undefined ? {} : { only });
  assert.equal(code, 1, `${program} has found nothing: ${stdout}${stderr}`);
  assert.match(stdout, seen);
}

for (const dropping of droppings)
  test(`${dropping.fault}: the closed form finds it`, async (t) => {
    await assertFound(plant([dropping], t), 'law/dropout.test', dropping.seen, { share: 0.5, only: '(cpu, fp32)' });
  });

for (const negative of negatives)
  test(`${negative.fault}: the negatives drawn show it`, async (t) => {
    await assertFound(plant([negative], t), 'law/negatives.test', negative.seen, { share: 0.5 });
  });

for (const image of images)
  test(`${image.fault}: the images drawn show it`, async (t) => {
    const folder = plant([image], t);
    await assertFound(folder, image.without.program, image.without.seen);
    if (lawSkip) return t.diagnostic(`${lawSkip}`);
    await assertFound(folder, 'law/augmentation.test', /image of row 0: .*\n.*image of row 8: /);
  });
