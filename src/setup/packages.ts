// Which programs the build needs, which are missing, and how this distribution names the packages that have them.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { UserError } from '../errors.js';
import { platformDefect } from '../libtorch/platform.js';
import { onPath } from '../libtorch/python.js';

export type Tool = 'cmake' | 'compiler' | 'make';

type Manager = [distributions: RegExp, command: string, compiler: string];

/** For a distribution's ID and ID_LIKE: the command that installs packages, and the compiler's package. */
const debian: Manager = [/debian|ubuntu/, 'sudo apt-get install', 'g++'];
const managers: Manager[] = [
  debian,
  [/fedora|rhel|centos/, 'sudo dnf install', 'gcc-c++'],
  [/arch/, 'sudo pacman -S', 'gcc'],
  [/suse/, 'sudo zypper install', 'gcc-c++'],
];

/** `sudo apt-get install cmake g++` for the tools named. */
function installCommand(tools: Tool[]): string {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const ids = String(release.match(/^ID(_LIKE)?=.*/gm)).toLowerCase();
  const [, command, compiler] = managers.find(([distributions]) => distributions.test(ids)) ?? debian;
  return [command, ...tools.map((tool) => (tool === 'compiler' ? compiler : tool))].join(' ');
}

/** The first defect that would stop a build, with its remedy; undefined when cmake, a C++17 compiler and make are there. */
export function buildToolDefect(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const elsewhere = platformDefect();
  if (elsewhere !== undefined) return elsewhere;
  const compiler = env.CXX || ['c++', 'g++', 'clang++'].find((name) => onPath(name, env));
  const missing: Tool[] = [];
  if (!onPath('cmake', env)) missing.push('cmake');
  if (compiler === undefined) missing.push('compiler');
  if (!onPath('make', env) && !onPath('ninja', env)) missing.push('make');
  if (missing.length > 0 || compiler === undefined) {
    const names = { cmake: 'cmake', compiler: 'a C++ compiler', make: 'make or ninja' };
    const list = missing.map((tool) => names[tool]).join(' and ');
    return `The addon cannot be built without ${list}. Run "${installCommand(missing)}", then setup again.`;
  }
  const [program = compiler, ...flags] = compiler.split(' ').filter(Boolean);
  const input = '#include <optional>\nint main() { return std::optional<int>(0).value(); }\n';
  const args = [...flags, '-std=c++17', '-x', 'c++', '-fsyntax-only', '-'];
  const trial = spawnSync(program, args, { env, input, encoding: 'utf8', timeout: 60_000 });
  if (trial.status === 0) return undefined;
  const said = (trial.error?.message ?? trial.stderr).trim().split('\n')[0];
  return `${compiler} does not compile C++17 (${said}). Run "${installCommand(['compiler'])}", or set CXX to another compiler.`;
}

/** @throws UserError when the addon cannot be built here */
export function demandBuildTools(env: NodeJS.ProcessEnv = process.env): void {
  const defect = buildToolDefect(env);
  if (defect !== undefined) throw new UserError(defect);
}
