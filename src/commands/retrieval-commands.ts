// `evaluate` and `train`, names of the main command with and without --evaluate; and how all three start.
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { UserError } from '../errors.js';
import { runFlags, trainingFlags } from '../training/options.js';
import { addRetrievalOptions, launchFlags, retrievalOptions } from './options.js';

/** Does what the flags of the main command, or of `evaluate` or `train`, ask for: in this process, or in ranks. */
export async function startRetrieval(command: Command): Promise<void> {
  const options = retrievalOptions(command);
  const flags = launchFlags(command);
  const [{ rankFromEnvironment }, { decideStart }] = await Promise.all([
    import('../distributed/rank.js'),
    import('./start.js'),
  ]);
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
export async function isNewcomer(root: Command): Promise<boolean> {
  if (!givesNothing(root) || existsSync(runFlags.config.initial)) return false;
  const { rankFromEnvironment } = await import('../distributed/rank.js');
  return rankFromEnvironment(process.env) === undefined;
}

function givesNothing(root: Command): boolean {
  return root.args.length === 0 && root.options.every((option) => !isGiven(root, option.attributeName()));
}

function isGiven(command: Command, name: string): boolean {
  return command.getOptionValueSource(name) === 'cli';
}

/** Declares `evaluate` or `train`. */
export function declareRetrieval(command: Command): void {
  const evaluates = command.name() === 'evaluate';
  addRetrievalOptions(command);
  hide(command, ['evaluate', ...(evaluates ? Object.keys(trainingFlags) : [])]);
  command.action(async () => {
    takeFromRoot(command);
    if (!evaluates && command.getOptionValue('evaluate') === true)
      throw new UserError('--evaluate contradicts train. Leave one of the two out, or use the command evaluate.', {
        exitCode: 2,
      });
    if (evaluates) command.setOptionValueWithSource('evaluate', true, 'implied');
    await startRetrieval(command);
  });
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
