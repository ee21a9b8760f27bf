// What npm runs after it has installed this package: builds the addon if there is a LibTorch. Never downloads anything and
// never fails the installation: it says what is missing, and `npx blip-retrieval setup` does the rest.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const load = (name) => import(pathToFileURL(join(root, 'dist', name)).href);

async function install() {
  // A clone has no dist yet: `npm run build` (or demo, or test) will do all of this.
  if (!existsSync(join(root, 'dist/cli.js'))) return;
  const { buildDefect } = await load('setup/build.js');
  if (buildDefect() === undefined) return;
  const { findAddon, readBuildRecord } = await load('libtorch/addon-files.js');
  const { searchLibtorch, describeSearch } = await load('libtorch/search.js');
  const search = searchLibtorch({ recorded: readBuildRecord(findAddon())?.root });
  if (!search.libtorch) {
    console.log(`${describeSearch(search)}\nRun "npx blip-retrieval setup" to fetch one and build the addon.`);
    return;
  }
  const { setupCommand } = await load('commands/setup.js');
  await setupCommand({ offline: true });
}

try {
  await install();
} catch (error) {
  console.log(`${error.message}\nThe package was installed without its addon. Run "npx blip-retrieval setup".`);
}
