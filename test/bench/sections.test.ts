// The sections that `bench all --write` keeps in a Markdown file: one a processor, all else left as it is.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { demandSection, writeSection } from '#blip/bench/sections.js';
import { UserError } from '#blip/errors.js';
import { temporaryFolder } from '../helpers/files.js';

const folder = temporaryFolder();
const read = (file: string) => readFileSync(file, 'utf8');

test('sections of several processors stand beside each other, and each is replaced alone', async () => {
  const file = join(folder, 'page.md');
  writeFileSync(file, '# Figures\n\nby hand');
  await writeSection(file, 'Zen 4', (before) => `four${before}`);
  assert.equal(
    read(file),
    '# Figures\n\nby hand\n\n<!-- bench all: Zen 4 -->\n\nfour\n\n<!-- end of bench all: Zen 4 -->\n',
  );
  writeFileSync(file, `${read(file)}\n## After\n`);
  await writeSection(file, 'Zen 5', () => 'five $& $1');
  await writeSection(file, 'Zen 4', (before) => `${before} again`);
  assert.equal(
    read(file),
    '# Figures\n\nby hand\n\n<!-- bench all: Zen 4 -->\n\nfour again\n\n<!-- end of bench all: Zen 4 -->\n\n' +
      '<!-- bench all: Zen 5 -->\n\nfive $& $1\n\n<!-- end of bench all: Zen 5 -->\n\n## After\n',
  );
});

test('the first section goes where the file has a place for it', async () => {
  const file = join(folder, 'place.md');
  writeFileSync(file, 'a\n\n<!-- bench all -->\n\n## b\n');
  await writeSection(file, 'X', () => 'x');
  assert.match(
    read(file),
    /^a\n\n<!-- bench all -->\n\n<!-- bench all: X -->\n\nx\n\n<!-- end of bench all: X -->\n\n## b\n$/,
  );
});

test('a file that is not there is made, and a name cannot end its comment', async () => {
  const file = join(folder, 'new.md');
  await writeSection(file, 'a --> b', () => 'text');
  assert.match(read(file), /^<!-- bench all: a -> b -->\n\ntext\n\n<!-- end of bench all: a -> b -->\n$/);
  await writeSection(file, 'a --> b', (before) => `${before}s`);
  assert.equal(read(file).match(/texts/g)?.length, 1);
});

test('half a section is an error, and the file stays as it is', async () => {
  for (const half of [
    '<!-- bench all: X -->',
    '<!-- end of bench all: X -->',
    '<!-- end of bench all: X -->\n<!-- bench all: X -->',
  ]) {
    const file = join(folder, 'half.md');
    writeFileSync(file, half);
    await assert.rejects(
      writeSection(file, 'X', () => ''),
      (error) => error instanceof UserError && /half\.md has the line <!-- .* -->/.test(error.message),
    );
    assert.equal(read(file), half);
    assert.throws(() => demandSection(file, 'X'), UserError);
    demandSection(file, 'Y');
  }
});

test('a failure while it is written leaves the old file, and nothing beside it', async () => {
  const inside = join(folder, 'atomic');
  mkdirSync(inside);
  const file = join(inside, 'page.md');
  writeFileSync(file, 'old');
  await assert.rejects(
    writeSection(file, 'X', () => {
      throw new Error('broken');
    }),
    /broken/,
  );
  assert.equal(read(file), 'old');
  await writeSection(file, 'X', () => 'new');
  assert.deepEqual(readdirSync(inside), ['page.md']);
  await assert.rejects(
    writeSection(join(folder, 'absent', 'page.md'), 'X', () => 'new'),
    (error) => error instanceof UserError && /does not exist/.test(error.message),
  );
});
