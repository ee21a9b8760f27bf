#!/usr/bin/env node
// Where the program begins: what must be done before anything is imported. A Node that is too old gets a sentence here
// instead of a syntax error, so nothing in this file may be younger than Node 10: no import, no export, no `?.`, no await.
// The command line itself is commands/program.ts.
(() => {
  const least = '20.17'; // `engines` of package.json
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.split('.').map(Number);
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    console.error(
      `error: Node.js ${least} or newer is needed, and ${process.execPath} is ${process.version}. Install a newer one (https://nodejs.org), or put it first in PATH.`,
    );
    process.exit(1);
  }
  // At SIGUSR1 Node would open its debugger, to everybody on this machine. A listener that goes leaves the default action.
  const listener = () => undefined;
  process.on('SIGUSR1', listener).off('SIGUSR1', listener);
  // One that came while Node itself began is not lost: it ends the program, as it would have a moment later.
  const obeyEarlySignal = () => {
    const wanted = process.execArgv.concat(process.env.NODE_OPTIONS || '').some((flag) => /--inspect/.test(flag));
    const inspector = process.getBuiltinModule('inspector');
    if (wanted || inspector.url() === undefined) return;
    inspector.close();
    process.kill(process.pid, 'SIGUSR1');
  };
  obeyEarlySignal();
  import('./commands/main.js').then(
    ({ main }) => {
      obeyEarlySignal();
      return main();
    },
    (error) => {
      const full = /too many open files/.test(error.message); // Node opens many at once to import them
      const remedy = full ? 'Raise the limit, for example with "ulimit -n 4096"' : 'Install or build it again';
      console.error(`error: The program cannot be loaded: ${error.message}. ${remedy}.`);
      process.exitCode = 1;
    },
  );
})();
