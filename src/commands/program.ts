// The command line: declares the commands.
import { Command, type Help, Option } from 'commander';
import { flag } from '../config/flag.js';
import { UserError } from '../errors.js';
import { packageVersion } from '../libtorch/package-version.js';
import { beside, fitted, roomOf, wrapped } from '../logging/terminal.js';
import { runFlags } from '../training/options.js';
import type { FetchOptions } from './fetch.js';
import { addFlags, addProse, flagValues, givenFlags } from './flags.js';
import type { InspectOptions } from './inspect.js';
import type { ModelsOptions } from './models.js';
import { addRetrievalOptions } from './options.js';
import { declareRetrieval, isNewcomer, startRetrieval } from './retrieval-commands.js';
import type { SetupOptions } from './setup.js';

export const NAME = 'blip-retrieval';

const checkDataFlags = {
  config: runFlags.config,
  set: runFlags.set,
  allow_outside_images: runFlags.allow_outside_images,
  strict_config: runFlags.strict_config,
  json: flag('', 'print JSON', false),
};

const convertFlags = {
  dataset: flag<'coco' | 'flickr' | undefined>(
    '<name>',
    'coco or flickr, for the names of the written files (default: by the name of the file read)',
    undefined,
    ['coco', 'flickr'],
  ),
  split: flag<'train' | 'val' | 'test' | undefined>(
    '<name>',
    'train, val or test: what a file of one split is (default: by its name)',
    undefined,
    ['train', 'val', 'test'],
  ),
};

const compareFlags = {
  split: flag<'val' | 'test'>('<name>', 'val or test', 'test', ['val', 'test']),
  json: flag('', 'print JSON', false),
};

const exportFlags = {
  format: flag<'hf' | 'pth'>('<name>', "hf: a folder for transformers; pth: a file of the reference's form", 'hf', [
    'hf',
    'pth',
  ]),
  half: flag('', 'write the weights in float16', false),
  config: flag<string | undefined>(
    '<file>',
    'the config of the training (default: the one that the checkpoint holds)',
    undefined,
  ),
};

const FETCH_HELP = `
Files of URLs go where Python's torch.hub keeps them (TORCH_HOME), models of
Hugging Face into the cache of its hub (HF_HOME, HF_HUB_CACHE); what Python has
put there is taken, and a branch that is there stays at its commit. HF_TOKEN
opens gated and private models, HF_ENDPOINT is another hub, HF_HUB_OFFLINE=1
asks none.`;

const CACHE_HELP = `
BLIP_CACHE is the folder for LibTorch and built addons, by default
~/.cache/blip-retrieval; setup --help says more.`;

const SETUP_HELP = `
An installed package needs no setup where a LibTorch is found: the addon came
with it, or is built at first use. LibTorch is looked for in LIBTORCH, in the
torch of the Python in use, then in the cache, ~/.cache/blip-retrieval.
BLIP_CACHE is another folder for the cache (LibTorch and downloads, up to 3 GB,
and addons), BLIP_NO_BUILD=1 forbids building at first use.`;

/**
 * The command line for these arguments. Actions import their files when they run: help and version need neither addon nor
 * LibTorch. Arguments and flags are declared of the commands that the arguments may name; of the others, the line in the list.
 */
export async function program(args: readonly string[]): Promise<Command> {
  const root = new Command(NAME)
    .description('BLIP image-text retrieval: evaluates and fine-tunes as the reference train_retrieval.py does')
    .version(packageVersion(), '--version', 'print the version')
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError(helpHint())
    .helpOption('-h, --help', 'print this help')
    .configureHelp({
      subcommandTerm: (command) => command.name(), // with arguments, lines pass 80 columns
      formatItem,
      minWidthToWrap: 20,
      styleUsage: (usage) => wrapped(`Usage: ${usage}`, roomOf(process.stdout)).slice('Usage: '.length),
    })
    .configureOutput({
      writeErr: (text) => process.stderr.write(fitted(text, process.stderr)),
      getOutHelpWidth: () => (process.stdout.isTTY ? roomOf(process.stdout) : 80),
    })
    .helpCommand('help [command]', 'print the options of a command')
    .allowExcessArguments();
  addRetrievalOptions(root.addOption(debugOption()));
  addProse(root, CACHE_HELP);
  root.action(async (_flags: unknown, command: Command) => {
    const [unknown] = command.args;
    if (unknown !== undefined) throw await unknownCommand(unknown, command);
    if (await isNewcomer(command)) command.outputHelp();
    else await startRetrieval(command);
  });

  // `setup` and `doctor` may replace or judge the addon, which says it.
  root.hook('preAction', async (_root, command) => {
    if ((process.stderr.isTTY || process.stdout.isTTY) && !['setup', 'doctor'].includes(command.name()))
      (await import('./signal-words.js')).sayAtSignals();
  });

  const add = async (name: string, description: string, declare: (command: Command) => unknown) => {
    const command = root.command(name).description(description).allowExcessArguments(false).addOption(debugOption());
    command.showHelpAfterError(helpHint(name));
    if (args.includes(name)) await declare(command);
  };
  const evaluates = 'recalls of a checkpoint on the val and test splits (the same as --evaluate)';
  await add('evaluate', evaluates, declareRetrieval);
  await add('train', 'fine-tune a checkpoint (the same as no command)', declareRetrieval);
  await add('embed', 'features of images and texts, as .safetensors or JSON lines', async (embed) =>
    (await import('./retriever-commands.js')).declareEmbed(embed),
  );
  await add('score', 'how well an image fits each of some texts (ITM and ITC)', async (score) =>
    (await import('./retriever-commands.js')).declareScore(score),
  );
  await add('index', 'make an index of a folder of images for `search`, or bring it up to date', async (index) =>
    (await import('./declare-index.js')).declareIndex(index),
  );
  await add('search', 'find the images of an index that fit a text, or look like an image', async (search) =>
    (await import('./declare-index.js')).declareSearch(search),
  );
  await add('setup', 'find or fetch LibTorch and build the addon', (setup) =>
    addProse(setup, SETUP_HELP)
      .option('--cuda', 'use a LibTorch with CUDA, even if no driver is seen')
      .option('--cpu', 'use the CPU build')
      .option('--libtorch <folder>', 'the LibTorch to use')
      .option('--offline', 'download nothing')
      .option('--sha256 <digest>', 'expected SHA-256 of the downloaded zip')
      .option('--force', 'build even if nothing has changed')
      .action(async (flags: SetupOptions) => (await import('./setup.js')).setupCommand(flags)),
  );
  await add('doctor', 'report what is installed, what is missing, and what to do about it', (doctor) =>
    doctor.option('--json', 'print JSON').action(async (flags: { json?: boolean }) => {
      process.exitCode = await (await import('./doctor.js')).doctorCommand(flags);
    }),
  );
  await add(
    'demo',
    'draw a small data set, train a small model on it, evaluate before and after; downloads nothing',
    async (demo) => {
      const { demoFlags } = await import('./demo-flags.js');
      addFlags(demo, demoFlags).action(async () =>
        (await import('./demo.js')).demoCommand(flagValues(demo, demoFlags), givenFlags(demo, demoFlags)),
      );
    },
  );
  await add('inspect', 'list what a checkpoint holds, without running anything in it', (inspect) =>
    inspect
      .argument('<file>', 'a .pth, .bin or .safetensors file, or what `fetch` takes')
      .option('--json', 'print JSON')
      .option('--all', 'list all tensors and values')
      .option('--stats', 'list all, with sums of the tensors')
      .action(async (file: string, flags: InspectOptions) => {
        const { path } = await (await import('./fetch.js')).localCheckpoint(file);
        await (await import('./inspect.js')).inspectCommand(path, flags);
      }),
  );
  await add('models', 'list the published checkpoints: short names, sizes, which are here', (models) =>
    models
      .option('--json', 'print JSON')
      .action(async (flags: ModelsOptions) => (await import('./models.js')).modelsCommand(flags)),
  );
  await add('fetch', 'download a checkpoint unless it is here, and print its path', (fetch) =>
    addProse(fetch, FETCH_HELP)
      .argument('<source>', 'a name that `models` lists, an http(s) URL, hf:OWNER/NAME[@REVISION], a file or a folder')
      .option('--offline', 'download nothing')
      .option('--sha256 <digest>', 'expected SHA-256 of the file')
      .action(async (source: string, flags: FetchOptions) => (await import('./fetch.js')).fetchCommand(source, flags)),
  );
  await add('export', 'write weights as a folder for Hugging Face transformers, or as a .pth file', (exported) =>
    addFlags(
      exported
        .argument('<checkpoint>', 'a file, folder or URL of weights')
        .argument('<destination>', 'a folder, or a .pth file'),
      exportFlags,
    ).action(async (source: string, destination: string) =>
      (await import('./export.js')).exportCommand(source, destination, flagValues(exported, exportFlags)),
    ),
  );
  await add('report', 'write report.html of a run again, or one page of several runs', (report) =>
    report
      .argument('<output_dirs...>', 'output folders of runs that have evaluated')
      .option('-o, --output <file>', 'the page (default: report.html in the folder of the run; of several runs, here)')
      .action(async (folders: string[], { output }: { output?: string }) =>
        (await import('./report.js')).reportCommand(folders, { output }),
      ),
  );
  await add('compare', 'compare two runs on the same data: differences, intervals, queries won and lost', (compare) =>
    addFlags(compare.argument('<a>', 'output folder of a run').argument('<b>', 'that of another'), compareFlags).action(
      async (a: string, b: string) =>
        (await import('./report.js')).compareCommand(a, b, flagValues(compare, compareFlags)),
    ),
  );
  await add('check-data', 'list every defect of annotations and images, one line each', (checkData) =>
    addFlags(checkData, checkDataFlags).action(async () =>
      (await import('./check-data.js')).checkDataCommand(flagValues(checkData, checkDataFlags)),
    ),
  );
  const converts = "write Karpathy's, COCO's or JSON Lines' annotations as this program's";
  await add('convert-annotations', converts, (convert) =>
    addFlags(convert.argument('<in>').argument('<out_dir>'), convertFlags).action(
      async (input: string, output: string) =>
        (await import('./convert-annotations.js')).convertAnnotations(input, output, flagValues(convert, convertFlags)),
    ),
  );
  await add('serve', 'serve an index over HTTP: a page to search by text or picture, and an API', async (served) => {
    const { serveFlags } = await import('./serve-flags.js');
    addFlags(served.argument('<index>', 'the folder of an index, or postgres://…'), serveFlags).action(
      async (index: string) =>
        (await import('./serve.js')).serveCommand(index, flagValues(served, serveFlags), packageVersion()),
    );
  });
  // Bench declares its flags itself: whatever follows its name, --help too, is passed on.
  await add('bench', 'measure this program beside the Python reference', (bench) =>
    bench
      .argument('[args...]')
      .helpOption(false)
      .allowUnknownOption()
      .passThroughOptions()
      .action(async (_args: string[], _flags: unknown, command: Command) => {
        const { benchCommand } = await import('./bench.js');
        const own = benchCommand().name(`${NAME} bench`).copyInheritedSettings(root).addOption(debugOption());
        own.showHelpAfterError(helpHint('bench'));
        await own.allowExcessArguments(false).parseAsync(command.args, { from: 'user' });
      }),
  );
  return root;
}

/** Columns of a description beside its option; where fewer are left it goes below. */
const LEAST_BESIDE = 24;

/** An option or command with its description, in lines of the terminal. */
function formatItem(term: string, termWidth: number, description: string, helper: Help): string {
  const columns = helper.helpWidth ?? 80;
  if (description === '') return `  ${term}`;
  const width = termWidth + 4;
  if (columns - width < LEAST_BESIDE) return `  ${term}\n${wrapped(`      ${description}`, columns, 0)}`;
  return beside(`  ${term}`, description, width, columns);
}

/** What follows an error of the command line. */
const helpHint = (command?: string) => `(${[NAME, command, '--help'].filter(Boolean).join(' ')} lists the options)`;

function debugOption(): Option {
  return new Option('--debug', 'print the stack of an error');
}

async function unknownCommand(name: string, root: Command): Promise<UserError> {
  const { nearestName } = await import('../config/nearest.js');
  const known = root.commands.map((command) => command.name());
  const near = nearestName(name, known);
  const hint = near === undefined ? `\`${NAME} --help\` lists the commands.` : `Did you mean ${near}?`;
  return new UserError(`There is no command '${name}'. ${hint}`, { exitCode: 2 });
}

/** Flags with `_` for every `-`: both are accepted, and options are declared with `_`. What follows `--` stays. */
export function canonicalFlags(args: readonly string[]): string[] {
  const end = args.indexOf('--');
  return args.map((arg, i) => {
    const name = (end < 0 || i < end) && /^--[A-Za-z][\w-]*/.exec(arg)?.[0];
    return name ? `--${name.slice(2).replaceAll('-', '_')}${arg.slice(name.length)}` : arg;
  });
}
