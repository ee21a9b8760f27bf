// `evaluate` and `train`, names of the main command with and without --evaluate; and how all three start.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { rankFromEnvironment } from '../distributed/rank.js';
import { UserError } from '../errors.js';
import { runFlags, trainingFlags } from '../training/options.js';
import { addRetrievalOptions, launchFlags, retrievalOptions } from './options.js';
import { decideStart } from './start.js';

/** Declares a command of the program. */
export type Add = (name: string, description: string) => Command;

/** Does what the flags of the main command, or of `evaluate` or `train`, ask for: in this process, or in ranks. */
export async function startRetrieval(command: Command): Promise<void> {
  const options = retrievalOptions(command);
  const flags = launchFlags(command);
  const { place, machine, notes } = decideStart(rankFromEnvironment(process.env, flags), flags);
  if (options.dryRun) {
    const { dryRun } = await import('./dry-run.js');
    await dryRun(options, place, machine);
    return;
  }
  if (machine !== undefined) {
    const { launchRanks } = await import('./launch.js');
    process.exitCode = await launchRanks(options, machine, notes, process.argv.slice(1));
    return;
  }
  options.notes.push(...notes);
  const { runRetrieval } = await import('./retrieval.js');
  await runRetrieval(options, place);
}

/**
 * Whether nothing is asked for, where nothing could be done: without arguments the reference trains by its default config,
 * which a clone has and an installed package has not.
 */
export function isNewcomer(root: Command): boolean {
  return givesNothing(root) && !existsSync(runFlags.config.initial) && rankFromEnvironment(process.env) === undefined;
}

function givesNothing(root: Command): boolean {
  return root.args.length === 0 && root.options.every((option) => !isGiven(root, option.attributeName()));
}

function isGiven(command: Command, name: string): boolean {
  return command.getOptionValueSource(name) === 'cli';
}

/** Declares `evaluate` and `train`. */
export function addRetrievalCommands(add: Add): void {
  const evaluate = add('evaluate', 'recalls of a checkpoint on the val and test splits (the same as --evaluate)');
  const train = add('train', 'fine-tune a checkpoint (the same as no command)');
  for (const command of [evaluate, train]) {
    addRetrievalOptions(command);
    hide(command, ['evaluate', ...(command === evaluate ? Object.keys(trainingFlags) : [])]);
    command.action(async () => {
      takeFromRoot(command);
      if (command === train && command.getOptionValue('evaluate') === true)
        throw new UserError('--evaluate contradicts train. Leave one of the two out, or use the command evaluate.', {
          exitCode: 2,
        });
      if (command === evaluate) command.setOptionValueWithSource('evaluate', true, 'implied');
      await startRetrieval(command);
    });
  }
}

function hide(command: Command, names: readonly string[]): void {
  for (const option of command.options) if (names.includes(option.name())) option.hideHelp();
}

/** Flags before the command's name count as well: torch.distributed.launch puts its --local_rank there. */
function takeFromRoot(command: Command): void {
  const { parent } = command;
  for (const option of parent?.options ?? []) {
    const name = option.attributeName();
    if (parent === null || !isGiven(parent, name)) continue;
    const before: unknown = parent.getOptionValue(name);
    const own: unknown = command.getOptionValue(name);
    if (Array.isArray(before) && Array.isArray(own)) command.setOptionValueWithSource(name, [...before, ...own], 'cli');
    else if (!isGiven(command, name)) command.setOptionValueWithSource(name, before, 'cli');
  }
}
