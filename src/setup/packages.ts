// Which programs the build needs, which are missing, and what this distribution calls the packages that bring them.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { UserError } from '../errors.js';
import { onPath } from '../libtorch/python.js';

const managers = [
  { like: /debian|ubuntu/, command: 'sudo apt-get install', names: { cmake: 'cmake', compiler: 'g++', make: 'make' } },
  {
    like: /fedora|rhel|centos/,
    command: 'sudo dnf install',
    names: { cmake: 'cmake', compiler: 'gcc-c++', make: 'make' },
  },
  { like: /arch/, command: 'sudo pacman -S', names: { cmake: 'cmake', compiler: 'gcc', make: 'make' } },
  { like: /suse/, command: 'sudo zypper install', names: { cmake: 'cmake', compiler: 'gcc-c++', make: 'make' } },
];

export type Tool = 'cmake' | 'compiler' | 'make';

function manager() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const ids = release
    .split('\n')
    .filter((line) => /^ID(_LIKE)?=/.test(line))
    .join(' ')
    .toLowerCase();
  return managers.find(({ like }) => like.test(ids)) ?? managers[0];
}

/** `sudo apt-get install cmake g++` for the tools named. */
export function installHint(tools: Tool[]): string {
  const found = manager();
  return found ? `${found.command} ${tools.map((tool) => found.names[tool]).join(' ')}` : tools.join(', ');
}

/** glibc's version (`2.36`), or undefined on a system with another C library, where LibTorch does not run. */
export function glibcVersion(): string | undefined {
  const report: unknown = process.report.getReport();
  if (typeof report !== 'object' || report === null || !('header' in report)) return undefined;
  const header: unknown = report.header;
  if (typeof header !== 'object' || header === null || !('glibcVersionRuntime' in header)) return undefined;
  return typeof header.glibcVersionRuntime === 'string' ? header.glibcVersionRuntime : undefined;
}

/** The first defect that would stop a build, as a sentence; undefined when cmake, a C++17 compiler and make are there. */
export function buildToolDefect(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (process.platform !== 'linux') return `The addon builds on Linux only, and this is ${process.platform}.`;
  if (glibcVersion() === undefined) {
    return 'LibTorch needs glibc, and this system has another C library (Alpine?): use a Debian, Ubuntu or Fedora image.';
  }
  const compiler = env.CXX || ['c++', 'g++', 'clang++'].find((name) => onPath(name, env));
  const missing: Tool[] = [];
  if (!onPath('cmake', env)) missing.push('cmake');
  if (compiler === undefined) missing.push('compiler');
  if (!onPath('make', env) && !onPath('ninja', env)) missing.push('make');
  if (missing.length > 0 || compiler === undefined) {
    const names = { cmake: 'cmake', compiler: 'a C++ compiler', make: 'make or ninja' };
    const list = missing.map((tool) => names[tool]).join(' and ');
    return `The addon cannot be built without ${list}: ${installHint(missing)}, then run setup again.`;
  }
  const [program = compiler, ...flags] = compiler.split(' ').filter(Boolean);
  const input = '#include <optional>\nint main() { return std::optional<int>(0).value(); }\n';
  const args = [...flags, '-std=c++17', '-x', 'c++', '-fsyntax-only', '-'];
  const trial = spawnSync(program, args, { env, input, encoding: 'utf8', timeout: 60_000 });
  if (trial.status === 0) return undefined;
  const said = (trial.error?.message ?? trial.stderr).trim().split('\n')[0];
  return `${compiler} does not compile C++17 (${said}): ${installHint(['compiler'])}, or set CXX to another compiler.`;
}

/** @throws UserError when the addon cannot be built here */
export function demandBuildTools(env: NodeJS.ProcessEnv = process.env): void {
  const defect = buildToolDefect(env);
  if (defect !== undefined) throw new UserError(defect);
}
