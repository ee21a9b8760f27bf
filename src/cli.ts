#!/usr/bin/env node
// The command line: declares the commands, and turns whatever is thrown into one sentence and an exit code.
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { addFlags, flagValues } from './commands/flags.js';
import type { InspectOptions } from './commands/inspect.js';
import { addRetrievalOptions, asFlags, launchFlags, retrievalOptions } from './commands/options.js';
import type { SetupOptions } from './commands/setup.js';
import { flag, whole } from './config/flag.js';
import { nearestName } from './config/nearest.js';
import { cannotWrite } from './disk/atomic-file.js';
import { rankFromEnvironment } from './distributed/rank.js';
import { codeOf, messageOf, UserError } from './errors.js';

const NAME = 'blip-retrieval';
/** Exit code of a program that SIGPIPE ended, as a shell gives it. */
const BROKEN_PIPE = 141;

const demoFlags = {
  output_dir: flag('<folder>', 'where the data set and the results go', 'output/demo'),
  train_images: flag('<number>', 'images of the train split', 800, whole(10)),
  images: flag('<number>', 'images of the test split', 100, whole(10)),
  epochs: flag<number | undefined>(
    '<number>',
    "epochs of training (default: the config's; 0 only evaluates)",
    undefined,
    whole(0),
  ),
  seed: flag('<number>', 'seed of the data set and of the weights', 42, whole(0)),
  resume: flag('', 'continue a demo that was interrupted', false),
};

const checkDataFlags = {
  config: flag('<file>', 'YAML config of the experiment', './configs/retrieval_flickr.yaml'),
  set: flag<string[]>('<key=value>', 'override one key of the config; may be repeated', []),
  strict_config: flag('', 'make an unknown key of the config an error', false),
};

/** The command line. Actions import their files when they run: help and version need neither addon nor LibTorch. */
function program(): Command {
  const root = new Command(NAME)
    .description('BLIP image-text retrieval: evaluates and fine-tunes as the reference train_retrieval.py does')
    .version(version(), '--version', 'print the version')
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError(`(${NAME} --help lists the options)`)
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the options of a command')
    .allowExcessArguments();
  addRetrievalOptions(root.addOption(debugOption()));
  root.action(async (_flags: unknown, command: Command) => {
    const [unknown] = command.args;
    if (unknown !== undefined) throw unknownCommand(unknown, command);
    const options = retrievalOptions(command);
    const flags = launchFlags(command);
    const place = rankFromEnvironment(process.env, flags);
    const launches = flags.nprocPerNode !== '1' || flags.nnodes > 1 || flags.maxRestarts > 0;
    if (place === undefined && launches) {
      process.exitCode = await (await import('./commands/launch.js')).launchRanks(
        options,
        flags,
        process.argv.slice(1),
      );
      return;
    }
    const { runRetrieval } = await import('./commands/retrieval.js');
    await runRetrieval(options, place);
  });

  const add = (name: string, description: string) =>
    root.command(name).description(description).allowExcessArguments(false).addOption(debugOption());
  add('setup', 'find or fetch LibTorch and build the addon')
    .option('--cuda', 'use a LibTorch with CUDA, even if no driver is seen')
    .option('--cpu', 'use the CPU build')
    .option('--libtorch <folder>', 'the LibTorch to use')
    .option('--offline', 'download nothing')
    .option('--sha256 <digest>', 'expected SHA-256 of the downloaded zip')
    .option('--force', 'build even if nothing has changed')
    .action(async (flags: SetupOptions) => (await import('./commands/setup.js')).setupCommand(flags));
  add('doctor', 'report what is installed, what is missing, and what to do about it')
    .option('--json', 'print JSON')
    .action(async (flags: { json?: boolean }) => {
      process.exitCode = await (await import('./commands/doctor.js')).doctorCommand(flags);
    });
  const demo = add(
    'demo',
    'draw a small data set, train a small model on it, evaluate before and after; downloads nothing',
  );
  addFlags(demo, demoFlags).action(async () =>
    (await import('./commands/demo.js')).demoCommand(flagValues(demo, demoFlags)),
  );
  add('inspect', 'list what a checkpoint holds, without running anything in it')
    .argument('<file>', 'a .pth or .bin file of torch.save')
    .option('--json', 'print JSON')
    .option('--stats', 'print sums of the tensors too')
    .action(async (file: string, flags: InspectOptions) =>
      (await import('./commands/inspect.js')).inspectCommand(file, flags),
    );
  const checkData = add('check-data', 'list every defect of annotations and images, one line each');
  addFlags(checkData, checkDataFlags).action(async () =>
    (await import('./commands/check-data.js')).checkDataCommand(flagValues(checkData, checkDataFlags)),
  );
  // Bench declares its flags itself: whatever follows its name, --help too, is passed on.
  add('bench', 'measure this program beside the Python reference')
    .argument('[args...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (_args: string[], _flags: unknown, command: Command) => {
      const { benchCommand } = await import('./commands/bench.js');
      const bench = benchCommand().name(`${NAME} bench`).copyInheritedSettings(root).addOption(debugOption());
      await bench.allowExcessArguments(false).parseAsync(command.args, { from: 'user' });
    });
  return root;
}

function debugOption(): Option {
  return new Option('--debug', 'print the stack of an error');
}

function version(): string {
  const described: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const isObject = typeof described === 'object' && described !== null && 'version' in described;
  return isObject ? String(described.version) : 'unknown';
}

function unknownCommand(name: string, root: Command): UserError {
  const known = root.commands.map((command) => command.name());
  const near = nearestName(name, known);
  const hint = near === undefined ? `\`${NAME} --help\` lists the commands.` : `Did you mean ${near}?`;
  return new UserError(`There is no command '${name}'. ${hint}`, { exitCode: 2 });
}

/** Flags with `_` for every `-`: both are accepted, and options are declared with `_`. What follows `--` stays. */
function canonicalFlags(args: readonly string[]): string[] {
  const end = args.indexOf('--');
  return args.map((arg, i) => {
    const name = (end < 0 || i < end) && /^--[A-Za-z][\w-]*/.exec(arg)?.[0];
    return name ? `--${name.slice(2).replaceAll('-', '_')}${arg.slice(name.length)}` : arg;
  });
}

/** Prints what went wrong. @returns the exit code */
function report(error: unknown, debug: boolean): number {
  // Commander has printed its own message or the help.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (codeOf(error) === 'EPIPE') return BROKEN_PIPE;
  const known = error instanceof UserError;
  const defect = `\nThis is a defect of ${NAME}. Please report it${debug ? '' : ', with what --debug prints'}.`;
  console.error(`error: ${known ? asFlags(error.message) : messageOf(error) + defect}`);
  if (debug) console.error(error);
  return known ? error.exitCode : 1;
}

async function main(): Promise<void> {
  const args = canonicalFlags(process.argv.slice(2));
  const debug = args.includes('--debug');
  const end = (error: unknown) => process.exit(report(error, debug));
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
  // `… | head` closes the pipe: end quietly, as SIGPIPE would. A file may be on a full disk.
  for (const [stream, name] of [
    [process.stdout, 'Standard output'],
    [process.stderr, 'Standard error'],
  ] as const)
    stream.on('error', (error) => end(codeOf(error) === 'EPIPE' ? error : cannotWrite(name, error)));
  try {
    await program().parseAsync(args, { from: 'user' });
  } catch (error) {
    end(error);
  }
  // Open handles (a worker, a socket) must not keep a finished command alive.
  process.exit();
}

await main();
