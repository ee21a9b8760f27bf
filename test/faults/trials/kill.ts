// A training run killed by -9 at a random instant, and resumed: it must end as the run that was never killed, bit for bit.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '#blip/data/random.js';
import { type Command, startCommand } from '../../helpers/command.js';
import { comparable, RESULTS } from '../../helpers/same-results.js';
import { runTrial, type Trial, type TrialOptions } from './trial.js';

/** Who is killed: a rank, or the command that has started the ranks. */
type Victim = number | 'command';

function runArguments(config: string, output: string, world: number, more: readonly string[] = []): string[] {
  const ranks = world === 1 ? [] : ['--nproc_per_node', String(world)];
  return [...ranks, '--config', config, '--output_dir', output, '--device', 'cpu', '--log_every', '1', ...more];
}

/** Throws unless the results of both folders are the same bytes but for times, and no temporary file lies beside those of `other`. */
export function assertSameResults(whole: string, other: string): void {
  for (const name of RESULTS) {
    const [a, b] = [whole, other].map((folder) => comparable(name, readFileSync(join(folder, name))));
    assert.ok(a && b?.equals(a), `${name} differs from that of the run never killed`);
  }
  assert.deepEqual(
    readdirSync(other).filter((name) => name.endsWith('.tmp')),
    [],
    'temporary files are left',
  );
}

/** A run that is left alone. Gives the seconds from the start of training to its end. */
async function runWhole(config: string, output: string, world: number): Promise<number> {
  const command = startCommand(runArguments(config, output, world));
  await command.says('Start training');
  const started = performance.now();
  const { code, stderr } = await command.ended;
  assert.equal(code, 0, stderr);
  return (performance.now() - started) / 1000;
}

/** Kills `victim` `seconds` after training has begun. False when the run had come to its end before. */
async function strike(command: Command, victim: Victim, seconds: number): Promise<boolean> {
  await command.says('Start training');
  const pid = victim === 'command' ? command.pid : await command.rank(victim);
  await sleep(seconds * 1000);
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
  const { code } = await command.ended;
  await command.gone();
  return code !== 0;
}

/** Kills a run of each trial once or twice, by turns of one and of two processes, and resumes it to its end. */
export async function runKillTrials(options: TrialOptions): Promise<Trial[]> {
  const { trials, seed, folder, config } = options;
  const random = new Random(seed);
  const lasting = new Map<number, number>();
  const done: Trial[] = [];
  for (let number = 1; number <= trials; number++) {
    const world = 1 + (number % 2);
    const whole = join(folder, `whole-${world}`);
    const seconds = lasting.get(world) ?? (await runWhole(config, whole, world));
    lasting.set(world, seconds);
    const victims: Victim[] = world === 1 ? ['command'] : ['command', 0, 1];
    const kills = Array.from({ length: 1 + random.below(2) }, () => ({
      victim: victims[random.below(victims.length)] ?? 'command',
      at: random.between(0, seconds),
    }));
    const every = String(1 + random.below(4));
    const strikes = kills.map(
      ({ victim, at }) => `${victim === 'command' ? victim : `rank ${victim}`} at ${at.toFixed(2)} s`,
    );
    const drawn = `world ${world}, save_every ${every}, kill ${strikes.join(', then ')} of ${seconds.toFixed(1)} s`;
    const trial = await runTrial(options, { subject: 'kill', number, drawn }, async () => {
      const output = join(folder, `killed-${number}`);
      const start = (resume: boolean) =>
        startCommand(
          runArguments(config, output, world, ['--save_every', every, ...(resume ? ['--resume', 'latest'] : [])]),
        );
      let killed = 0;
      for (const { victim, at } of kills) {
        // A run that is quicker than the one that was measured must be killed all the same: earlier, in another one.
        // What is left after a resume may be too short to be killed in.
        for (let instant = at; ; instant /= 2) {
          const struck = await strike(start(killed > 0), victim, instant);
          if (struck) killed++;
          if (killed > 0) break;
          rmSync(output, { recursive: true });
        }
      }
      const last = start(true);
      const { code, stdout, stderr } = await last.ended;
      assert.equal(code, 0, stderr);
      const position = /^Resuming .* in (epoch \d+ after step \d+)\.$/m.exec(stdout)?.[1] ?? 'the beginning';
      await last.gone(0);
      assertSameResults(whole, output);
      rmSync(output, { recursive: true });
      return `killed ${killed === 1 ? 'once' : 'twice'}, then resumed in ${position}; bit-equal`;
    });
    done.push(trial);
  }
  return done;
}
