// The order of the rooms, which `npm run lint` enforces: a file imports its own room and rooms further down this list.
// Rooms of one line do not import each other. docs/style.md says what each room holds.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const floors = [
  ['cli.ts'],
  ['commands', 'core.ts', 'index.ts'],
  ['bench'],
  ['demo', 'report', 'server', 'setup'],
  ['retriever'],
  ['index', 'training'],
  ['evaluation'],
  ['model'],
  ['data', 'distributed'],
  ['torch'],
  ['libtorch'],
  ['download'],
  ['config'],
  ['logging'],
  ['disk'],
  ['errors.ts'],
];
const all = floors.flat();

const literally = (path) => path.replaceAll('.', '\\.');

/** A pattern for everything in these rooms and files of src. */
const within = (names) =>
  `^src/(${names.map((name) => (name.endsWith('.ts') ? `${literally(name)}$` : `${name}/`)).join('|')})`;

/** Files that are started by their path, as workers and processes: no import leads to them. All lie beside their starter. */
function startedByPath() {
  const files = readdirSync('src', { recursive: true }).filter((path) => path.endsWith('.ts'));
  return files.flatMap((file) => {
    const text = readFileSync(join('src', file), 'utf8');
    const names = [...text.matchAll(/new URL\('\.\/([\w/-]+)\.js', import\.meta\.url\)/g)].map(([, name]) => name);
    return names.map((name) => join(dirname(file), `${name}.ts`));
  });
}

const programs = within(['cli.ts', 'core.ts', 'index.ts', ...startedByPath()]);

const rules = [
  ...floors.slice(1).flatMap((floor, above) =>
    floor.map((name) => ({
      name: `${name} imports what is below it`,
      from: { path: within([name]) },
      to: {
        path: within([...floors.slice(0, above + 1).flat(), ...floor.filter((other) => other !== name)]),
      },
    })),
  ),
  {
    name: 'setup runs before there is an addon',
    from: { path: within(['setup']) },
    to: { path: within(['retriever', 'index', 'training', 'evaluation', 'model', 'data', 'distributed', 'config']) },
  },
  { name: 'no circle', from: { path: '^src/' }, to: { circular: true } },
  {
    // What only tests use belongs in test/helpers.
    name: 'every file is reached from a program',
    from: { path: programs },
    to: { path: '^src/', pathNot: programs, reachable: false },
  },
  {
    name: 'src holds the rooms of this list, cli.ts, core.ts, index.ts and errors.ts',
    from: { path: '^src/', pathNot: within(all) },
    to: {},
  },
  {
    name: 'src holds the rooms of this list, cli.ts, core.ts, index.ts and errors.ts',
    from: {},
    to: { path: '^src/', pathNot: within(all) },
  },
  { name: 'every import resolves', from: { path: '^src/' }, to: { couldNotResolve: true } },
];

export default {
  forbidden: rules.map((rule) => ({ severity: 'error', ...rule })),
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true, // imports of types count
    doNotFollow: { path: 'node_modules' },
  },
};
