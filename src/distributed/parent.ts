// A rank ends with the launcher that started it.
import { UserError } from '../errors.js';
import { native } from '../torch/native.js';

/**
 * Where the own launcher started this process, has the kernel end it with the launcher: a rank that waits in a
 * collective could not notice. Has no effect in a process that something else started.
 * @throws UserError when the launcher is gone already
 */
export function endWithLauncher(env: NodeJS.ProcessEnv = process.env): void {
  const text = env.BLIP_LAUNCHER_PID ?? '';
  const launcher = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (launcher > 0 && !native().dieWithParent(launcher))
    throw new UserError(`The launcher (pid ${launcher}) that started this rank has ended, so this rank ends too.`);
}
