// `serve INDEX`: an index over HTTP, with a page, until a signal stops it.
import type { FlagValues } from '../config/flag.js';
import { exitCodeOf, SAME_SIGNAL_MS } from '../distributed/signals.js';
import { UserError } from '../errors.js';
import { readManifest } from '../index/manifest.js';
import { clearedLine, onOwnLine, STOPPED } from '../libtorch/last-words.js';
import { fitted } from '../logging/terminal.js';
import { counted } from '../logging/text.js';
import { Retriever } from '../retriever/retriever.js';
import type { RunningServer } from '../server/server.js';
import type { Device } from '../torch/tensor.js';
import { inCommands } from './index-model.js';
import type { serveFlags } from './serve-flags.js';

/** Serves until SIGINT or SIGTERM, gives what is under way ten seconds, and sets the exit code: 130 or 143. */
export function serveCommand(name: string, flags: FlagValues<typeof serveFlags>, version: string): Promise<void> {
  return inCommands(() => serveUntilStopped(name, flags, version));
}

async function serveUntilStopped(name: string, flags: FlagValues<typeof serveFlags>, version: string): Promise<void> {
  const stop = new AbortController();
  let signalled: NodeJS.Signals | undefined;
  let since = 0;
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        if (signalled !== undefined && performance.now() - since < SAME_SIGNAL_MS) {
          process.stderr.write(clearedLine()); // in the place of the ^C
          return;
        }
        if (signalled !== undefined) {
          process.stderr.write(onOwnLine(STOPPED.last(signal)));
          process.exit(exitCodeOf(signal)); // the second: at once
        }
        signalled = signal;
        since = performance.now();
        stop.abort();
        resolve();
      });
  });
  try {
    await serve(name, flags, version, stop.signal, stopped);
  } catch (error) {
    if (signalled === undefined) throw error; // else the opening was stopped
  }
  if (signalled !== undefined) process.exitCode = exitCodeOf(signalled);
}

async function serve(
  name: string,
  flags: FlagValues<typeof serveFlags>,
  version: string,
  signal: AbortSignal,
  stopped: Promise<void>,
): Promise<void> {
  const { host, port, allowedHost, precision, maxBatch, maxPixels, queue, timeout, verbose } = flags;
  const token = flags.token ?? process.env.BLIP_TOKEN;
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw new UserError('The token is empty, or has spaces or other characters that a header cannot. Give another.', {
      exitCode: 2,
    });
  const print = (line: string) => console.error(fitted(line, process.stderr));
  const maxBody = flags.maxBody * 2 ** 20;
  const source = flags.checkpoint ?? (await sourceOf(name));
  const device = flags.device as Device | undefined; // Retriever.open checks it
  await using model = await Retriever.open(source, {
    ...{ device, precision, maxPixels, print, signal },
    ...{ maxImageBytes: maxBody, maxPending: 4 * queue + 64 },
  });
  await using index = await model.openIndex(name, { signal });
  const { startServer } = await import('../server/server.js');
  const limits = { maxBody, maxBatch, maxPixels, queue, timeout };
  const options = { ...limits, host, port, token, allowedHosts: allowedHost, verbose, print };
  const server: RunningServer = await startServer({ model, index }, options, version);
  print(`Serving ${counted(index.size, 'image')} of ${index.name} at ${server.url}`);
  await stopped;
  process.stderr.write(onOwnLine('Stopping: what is under way has ten seconds.'));
  await server.close();
}

/** What the index was made with. */
async function sourceOf(name: string): Promise<string> {
  if (/^postgres(?:ql)?:/i.test(name))
    throw new UserError('An index in PostgreSQL needs the model named. Give it with --checkpoint.', { exitCode: 2 });
  return (await readManifest(name)).facts.source;
}
