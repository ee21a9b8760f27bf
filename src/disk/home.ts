// The user's home folder, also for users who have none: containers run under numbers that no file of users lists.
import { homedir } from 'node:os';

/** $HOME, else what the system has for this user, else `/`, as shells and containers have it. */
export function homeFolder(env: NodeJS.ProcessEnv): string {
  if (env.HOME) return env.HOME;
  try {
    return homedir() || '/';
  } catch {
    return '/';
  }
}
