// A terminal of 60 columns, and one of 40: nothing is broken by the terminal itself, and what is to be copied can be copied.
// Covers commands/shell-word, commands/program (help), logging/table.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { searchCommand } from '#blip/commands/index-folder.js';
import { commandText, flagParts } from '#blip/commands/shell-word.js';
import { noTerminal, shownBy } from '../helpers/pseudo-terminal.js';
import { TinyRuns, tinyData } from '../helpers/tiny-run.js';

const tiny = new TinyRuns();
before(() => tiny.write());

/** Lines that the terminal breaks, but for those with a word that no line can hold. */
function broken(lines: readonly string[], columns: number): string[] {
  return lines.filter((line) => line.length >= columns && !line.split(' ').some((word) => word.length >= columns - 2));
}

test('no line of help, errors and lists is broken', { skip: noTerminal }, async () => {
  const checkpoint = tiny.path('rule_tiny.pth');
  const commands = [
    ['--help'],
    ['bench', '--help'],
    ['setup', '--help'],
    ['demo', '--seed', '-1'],
    ['evaluate', '--config', 'configs/demo.yaml', '--set', 'k_tset=5', '--output_dir', tiny.path('none')],
    ['models'],
    ['doctor'],
    ['inspect', checkpoint],
    ['check-data', '--config', tiny.config],
    ['index', join(tinyData, 'images/val'), '--checkpoint', checkpoint, '--output', tiny.path('val.index')],
    ['search', tiny.path('val.index'), 'a dog', '-k', '3'],
    ['export', checkpoint, tiny.path('hf')],
    tiny.args('none', '--dry_run', '--evaluate'),
  ];
  for (const columns of [60, 40])
    for (const args of commands) {
      const lines = await shownBy(args, { columns });
      assert.ok(lines.length > 1, args.join(' '));
      assert.deepEqual(broken(lines, columns), [], `${columns}: ${args.join(' ')}`);
    }
});

/** The words that a shell makes of a command of `npx`. */
function wordsOf(command: string): string[] {
  const script = `npx() { for word in "$@"; do printf '%s\\n' "$word"; done; }\n${command}\n`;
  return execFileSync('sh', ['-c', script], { encoding: 'utf8' }).trimEnd().split('\n');
}

test('a command goes on over lines that a shell takes for one, at every width', () => {
  const parts = [
    'photos.index',
    '"a dog in snow"',
    ...flagParts({ top: 5, html: "it's a page.html", device: undefined }),
  ];
  const words = [
    'blip-retrieval',
    'search',
    'photos.index',
    'a dog in snow',
    '--top',
    '5',
    '--html',
    "it's a page.html",
  ];
  for (let columns = 20; columns <= 120; columns++) {
    const text = commandText('search', parts, { isTTY: true, columns, write: () => true });
    assert.deepEqual(wordsOf(text), words, text);
    if (columns >= 40) for (const line of text.split('\n')) assert.ok(line.length < columns, text);
  }
  assert.equal(commandText('search', parts, { write: () => true }).split('\n').length, 1, 'elsewhere it is one line');
});

test('an index whose name begins with a dash is no flag', () => {
  assert.deepEqual(wordsOf(searchCommand('-x.index', 'a dog')).slice(1), ['search', './-x.index', 'a dog']);
});

test('the command that `index` prints searches that index', { skip: noTerminal }, async () => {
  cpSync(join(tinyData, 'images/val'), tiny.path('some holiday pictures of last year'), { recursive: true });
  const args = ['index', 'some holiday pictures of last year', '--checkpoint', tiny.path('rule_tiny.pth')];
  const lines = await shownBy(args, { cwd: tiny.folder });
  const command = lines.slice(lines.indexOf('To search it:') + 1);
  assert.match(command[0] ?? '', / \\$/);
  assert.deepEqual(wordsOf(command.join('\n')), [
    ...['blip-retrieval', 'search', 'some holiday pictures of last year.index', 'a dog in snow'],
  ]);
});
