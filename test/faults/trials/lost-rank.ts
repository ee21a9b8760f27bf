// A rank killed or stopped in a run of two: the whole command ends, says which and why, and leaves no process behind.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '#blip/data/random.js';
import { END_WITHIN_SECONDS, startCommand } from '../../helpers/command.js';
import { runTrial, type Trial, type TrialOptions } from './trial.js';

/** Seconds that a rank waits for the other in these trials. */
const COLLECTIVE_TIMEOUT = 6;

/** Kills (odd trials) or stops (even ones) a random rank at a random instant of the first epochs. */
export async function runLostRankTrials(options: TrialOptions): Promise<Trial[]> {
  const { trials, seed, folder, config } = options;
  const random = new Random(seed);
  const done: Trial[] = [];
  for (let number = 1; number <= trials; number++) {
    const stops = number % 2 === 0;
    const rank = random.below(2);
    const milliseconds = random.between(0, 4000);
    const drawn = `rank ${rank} ${stops ? 'stopped' : 'killed'} ${(milliseconds / 1000).toFixed(2)} s into training`;
    const trial = await runTrial(options, { subject: 'lost rank', number, drawn }, async () => {
      const output = join(folder, `lost-${number}`);
      const command = startCommand([
        ...['--nproc_per_node', '2', '--config', config, '--output_dir', output, '--device', 'cpu'],
        // More epochs than the trial lasts: the run cannot end by itself.
        ...['--set', 'max_epoch=1000', '--collective_timeout', String(COLLECTIVE_TIMEOUT)],
      ]);
      await command.says('Start training');
      const pid = await command.rank(rank);
      await sleep(milliseconds);
      const struck = performance.now();
      process.kill(pid, stops ? 'SIGSTOP' : 'SIGKILL');
      const { code, stderr } = await command.ended;
      const seconds = (performance.now() - struck) / 1000;
      assert.equal(code, 1, stderr);
      assert.ok(seconds < END_WITHIN_SECONDS + (stops ? COLLECTIVE_TIMEOUT : 0), `it took ${seconds} s to end`);
      const lines = stderr.trim().split('\n').slice(-2).join('\n');
      const cause = stops ? 'was suspended' : 'was killed by SIGKILL';
      assert.ok(lines.includes(`error: Rank ${rank} (pid ${pid}) ${cause}`), `it does not name the cause: ${lines}`);
      if (stops)
        assert.ok(lines.includes(`error: First cause, rank ${rank}: `), `it does not name the cause: ${lines}`);
      await command.gone(0);
      rmSync(output, { recursive: true });
      return `ended with 1 after ${seconds.toFixed(1)} s`;
    });
    done.push(trial);
  }
  return done;
}
