// Every command and option of the command line, frozen: who renames or drops one breaks somebody's script.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCli } from '../helpers/run-cli.js';

/** Commands and options that a --help text lists, with the placeholder of their value. */
function listed(help: string): { options: string[]; commands: string[] } {
  const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+(?: [<[]\S+?[>\]])?)(?= {2,}|\n)/gm)].map(
    ([, flag]) => flag,
  );
  const section = /^Commands:\n((?: .*\n)*)/m.exec(help)?.[1] ?? '';
  const commands = [...section.matchAll(/^ {2}(\S+)/gm)].map(([, name]) => name);
  return { options: options.map(String), commands: commands.map(String) };
}

const frozen: Record<string, string[]> = {
  '': [
    '--version',
    '--debug',
    '--config <file>',
    '--output_dir <folder>',
    '--evaluate',
    '--device <device>',
    '--seed <number>',
    '--set <key=value>',
    '--strict_config',
    '--precision <name>',
    '--save_scores',
    '--tensorboard',
    '--reference_output',
    '--skip_bad_images',
    '--allow_outside_images',
    '--allow_partial',
    '--dry_run',
    '--quiet',
    '--help',
    '--resume [latest|file]',
    '--save_every <steps>',
    '--max_steps <steps>',
    '--accumulate <batches>',
    '--log_every <steps>',
    '--nproc_per_node <n>',
    '--nnodes <n>',
    '--node_rank <n>',
    '--master_addr <host>',
    '--master_port <port>',
    '--max_restarts <n>',
    '--collective_timeout <seconds>',
    '--world_size <n>',
    '--dist_url <url>',
    '--distributed <bool>',
    '--standalone',
    '--rdzv_endpoint <host[:port]>',
    '--local_rank <n>',
  ],
  setup: ['--debug', '--cuda', '--cpu', '--libtorch <folder>', '--offline', '--sha256 <digest>', '--force', '--help'],
  doctor: ['--debug', '--json', '--help'],
  demo: [
    '--debug',
    '--output_dir <folder>',
    '--train_images <number>',
    '--images <number>',
    '--epochs <number>',
    '--seed <number>',
    '--resume',
    '--help',
  ],
  inspect: ['--debug', '--json', '--all', '--stats', '--help'],
  models: ['--debug', '--json', '--help'],
  fetch: ['--debug', '--offline', '--sha256 <digest>', '--help'],
  'check-data': [
    '--debug',
    '--config <file>',
    '--set <key=value>',
    '--allow_outside_images',
    '--strict_config',
    '--json',
    '--help',
  ],
  'convert-annotations': ['--debug', '--dataset <name>', '--split <name>', '--help'],
  bench: [
    '--reference <dir>',
    '--against <rival>',
    '--python <exe>',
    '--transformers_python <exe>',
    '--only <rows>',
    '--write <file>',
    '--rank_threads <n>',
    '--pretrained <file>',
    '--images <n>',
    '--texts <n>',
    '--k <n>',
    '--rounds <n>',
    '--vit <size>',
    '--image_size <pixels>',
    '--queue_size <n>',
    '--batch <n>',
    '--steps <n>',
    '--vit_ckpt_layer <n>',
    '--threads <n>',
    '--device <device>',
    '--precision <precision>',
    '--seed <n>',
    '--seconds <s>',
    '--scaling',
    '--curve <file>',
    '--json',
    '--debug',
    '--help',
  ],
};

test('the commands are those of the contract', async () => {
  const { code, stdout, stderr } = await runCli(['--help']);
  assert.equal(code, 0);
  assert.equal(stderr, '');
  assert.deepEqual(listed(stdout).commands, [
    'evaluate',
    'train',
    'embed',
    'score',
    'index',
    'search',
    'setup',
    'doctor',
    'demo',
    'inspect',
    'models',
    'fetch',
    'export',
    'report',
    'compare',
    'check-data',
    'convert-annotations',
    'serve',
    'bench',
    'help',
  ]);
});

for (const [command, options] of Object.entries(frozen)) {
  test(`the options of ${command || 'the main command'}`, async () => {
    const { code, stdout } = await runCli(command ? [command, '--help'] : ['--help']);
    assert.equal(code, 0);
    assert.deepEqual(listed(stdout).options.sort(), [...options].sort());
  });
}

test('help COMMAND is the same as COMMAND --help', async () => {
  const [a, b] = [await runCli(['help', 'demo']), await runCli(['demo', '--help'])];
  assert.equal(a.code, 0);
  assert.equal(a.stdout, b.stdout);
});

test("the defaults are the reference's", async () => {
  const help = (await runCli(['--help'])).stdout.replace(/\s+/g, ' ');
  for (const text of [
    '--config <file> YAML config of the experiment (default: "./configs/retrieval_flickr.yaml")',
    '--output_dir <folder> where results go (default: "output/Retrieval_flickr")',
    '--seed <number> seed of all random numbers (default: 42)',
    '--world_size <n> processes in all (default: 1)',
    '--dist_url <url> how the processes meet (default: "env://")',
  ]) {
    assert.ok(help.includes(text), text);
  }
});
