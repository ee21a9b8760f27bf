// As planted.test, for dropout and drop path in the reference's law: minutes, since each fault takes a hundred training
// steps to show.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lawSkip } from '../helpers/law.js';
import { plant, runThere } from '../helpers/planted.js';
import { droppings } from './plants.js';

for (const dropping of droppings) {
  if (dropping.reference === undefined) continue;
  test(`${dropping.fault}: the reference’s law finds it`, { skip: lawSkip }, async (t) => {
    const only = dropping.file.includes('vision') ? 'drop path' : 'text features';
    const env = { BLIP_LAW_SHARE: only === 'drop path' ? '1' : '0.6' };
    const { code, stdout } = await runThere(plant([dropping], t), 'law/reference.test', env, { only });
    assert.equal(code, 1, stdout);
    assert.match(stdout, dropping.reference ?? /^$/);
  });
}
