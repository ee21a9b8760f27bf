// config.yaml: the config of a run, as the file and the overrides gave it.
import { writeFileSync } from 'node:fs';
import { intoFolder } from '../disk/folder.js';
import { isRecord } from '../errors.js';
import { yaml } from './yaml.js';

/**
 * Writes `outputDir`/config.yaml: the resolved config, keys sorted, readable by any YAML library.
 * @param raw the mapping as the file and the overrides give it (`RetrievalConfig.raw`)
 * @throws UserError when the folder cannot be made or written, or the disk is full
 */
export function writeConfig(outputDir: string, raw: Readonly<Record<string, unknown>>): void {
  intoFolder(outputDir, 'config.yaml', (path) => writeFileSync(path, toPythonYaml(raw)));
}

/** A mapping as YAML in block style with sorted keys, so that YAML 1.1 and 1.2 readers get equal values. */
export function toPythonYaml(mapping: Readonly<Record<string, unknown>>): string {
  return yaml().dump(sorted(mapping), { lineWidth: -1, noRefs: true, seqNoIndent: true });
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  );
}
