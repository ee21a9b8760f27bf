// Limits of the system that a user can raise, whatever Node calls them. Covers commands/system-failure.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemFailure } from '#blip/commands/system-failure.js';
import { projectRoot } from '../helpers/fixtures.js';

/** What Node's loader throws. */
const notFound = (what: 'module' | 'package', path: string) =>
  Object.assign(new Error(`Cannot find ${what} '${path}' imported from ${join(projectRoot, 'dist/config/write.js')}`), {
    code: 'ERR_MODULE_NOT_FOUND',
  });

test('what the loader calls missing and is there was not opened, since too many files are', () => {
  for (const error of [
    notFound('package', join(projectRoot, 'node_modules/js-yaml/index.js')),
    notFound('module', join(projectRoot, 'dist/config/yaml.js')),
  ])
    assert.match(
      systemFailure(error)?.message ?? '',
      /^Too many files are open at once: .* is there .*ulimit -n 4096"\.$/,
    );
  assert.equal(systemFailure(notFound('module', join(projectRoot, 'dist/absent.js'))), undefined);
  assert.equal(systemFailure(notFound('package', 'absent')), undefined);
});
