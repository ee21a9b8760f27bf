// What a program loads before it works: packages that only later work needs would delay every start.
// Covers cli, core, index, disk/schema.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

/** Prints the address of every module that is imported, and at the end those of all that were required. */
const hook = `import { writeSync } from 'node:fs';
export async function resolve(name, context, next) { const found = await next(name, context); writeSync(2, found.url + '\\n'); return found; }`;
const start = `import { Module, register } from 'node:module';
register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}));
process.on('exit', () => process.stderr.write(Object.keys(Module._cache).join('\\n')));`;

async function loadedBy(...args: string[]): Promise<{ packages: string[]; own: string[] }> {
  const preload = `data:text/javascript,${encodeURIComponent(start)}`;
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', preload, ...args]);
  const of = (pattern: RegExp) => [...new Set(Array.from(stderr.matchAll(pattern), ([, name]) => String(name)))].sort();
  return { packages: of(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//g), own: of(/\/dist\/(\S+)\.js$/gm) };
}

const importOf = (file: string) => ['--input-type=module', '--eval', `await import('#blip/${file}')`];

test('help and version need commander, and of this program the commands alone', async () => {
  for (const flag of ['--help', '--version']) {
    const { packages, own } = await loadedBy('dist/cli.js', flag);
    assert.deepEqual(packages, ['commander']);
    assert.ok(own.includes('commands/program') && own.length < 25, String(own));
    assert.deepEqual(
      own.filter((name) => /^(?:bench|index|model|evaluation|data|server|report)\//.test(name)),
      [],
    );
  }
});

test('a command that is named is declared, and it alone', async () => {
  const { own } = await loadedBy('dist/cli.js', 'embed', '--help');
  assert.ok(own.includes('commands/retriever-commands') && !own.includes('commands/declare-index'), String(own));
});

test('an import of the package loads no zod, no sharp, no YAML, and no addon', async () => {
  const { packages } = await loadedBy(...importOf('core.js'));
  assert.deepEqual(packages, ['@huggingface/tokenizers']);
  assert.deepEqual((await loadedBy(...importOf('index.js'))).packages, ['picomatch']);
});
