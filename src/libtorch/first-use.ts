// The addon, built at first use where it is not there yet: by a process of its own, while this one waits.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { ADDON_REMEDY, type FoundAddon, findAddon, packageRoot, recordedLibtorch } from './addon-files.js';
import { describeSearch, isYes, type Libtorch, searchLibtorch } from './search.js';

/** The LibTorch of this package. @throws UserError that says what to do, and then where it was looked for */
export function demandLibtorch(): Libtorch {
  const search = searchLibtorch({ recorded: recordedLibtorch() });
  if (search.libtorch !== undefined) return search.libtorch;
  const [first] = search.looked;
  if (process.env.LIBTORCH && first !== undefined)
    throw new UserError(
      `LIBTORCH is ${first.place}: ${first.outcome}. Name a LibTorch folder (with lib/ and include/), or unset it to have one found.`,
    );
  throw new UserError(`LibTorch was not found. ${ADDON_REMEDY}\n${describeSearch(search)}`);
}

/**
 * The addon for `libtorch`; without it, that of any (for images). Where there is none it is built, which takes a minute or
 * two once a machine, with lines on standard error. BLIP_NO_BUILD=1 forbids it.
 * @throws UserError when it is not there and cannot be built, with what is missing and the command that installs it
 */
export function demandAddon(libtorch?: Libtorch): FoundAddon {
  const find = () => findAddon({ version: libtorch?.build });
  const found = find();
  if (found !== undefined) return found;
  const absent = `The native addon is not built in ${packageRoot}.`;
  if (process.env.BLIP_RETRIEVAL_PREBUILD || isYes(process.env.BLIP_NO_BUILD))
    throw new UserError(`${absent} ${ADDON_REMEDY}`);
  const { root } = libtorch ?? demandLibtorch();
  const args = [join(packageRoot, 'dist/cli.js'), 'setup', '--offline'];
  const env = { ...process.env, LIBTORCH: root, BLIP_NO_BUILD: '1' };
  const child = spawnSync(process.execPath, args, { env, stdio: ['ignore', 2, 'pipe'], encoding: 'utf8' });
  const built = child.status === 0 ? find() : undefined;
  if (built !== undefined) return built;
  const why = child.error?.message ?? child.stderr.trim().replace(/^error: /, '');
  throw new UserError(why || `${absent} ${ADDON_REMEDY}`);
}
