// Makes a clone ready to run: packages, TypeScript, LibTorch and addon, each only if it is missing or out of date.
// Usage: node scripts/bootstrap.mjs [--typescript: without LibTorch and addon]
// A Node that is too old gets a sentence instead of a syntax error, so nothing in this file may be younger than Node 12.
const least = '20.17'; // `engines` of package.json
const [major, minor] = process.versions.node.split('.').map(Number);
const [leastMajor, leastMinor] = least.split('.').map(Number);
if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
  console.error(
    `error: Node.js ${least} or newer is needed, and ${process.execPath} is ${process.version}. Install a newer one (https://nodejs.org), or put it first in PATH.`,
  );
  process.exit(1);
}
import('./build-steps.mjs').then(({ bootstrap, ensurePackages, ensureTypeScript }) => {
  if (!process.argv.includes('--typescript')) return bootstrap();
  ensurePackages();
  ensureTypeScript();
});
