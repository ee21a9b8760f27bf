// The summary of a first run: at most 30 lines that say what to look at.
const LINES = 30;
const WIDTH = 150;

const cut = (line) => (line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line);
const number = (value) => (typeof value === 'number' ? String(Number(value.toPrecision(3))) : String(value));

function figureLine({ part, name, value, unit, expected, ok }) {
  const verdict = ok === undefined ? '    ' : ok ? 'ok  ' : 'LOOK';
  const shown = `${number(value)}${unit && ` ${unit}`}`;
  return cut(`${verdict} ${part}: ${name}: ${shown}${expected && `, expected ${expected}`}`);
}

/**
 * @param report { machine, commit, seconds, limit, parts: [{ name, status, seconds, note, figures }] }, the parts in their order
 * @returns the summary, with a newline at its end
 */
export function summary({ machine, commit, seconds, limit, parts }) {
  const head = `GPU first run: ${machine}; commit ${commit}; ${Math.round(seconds)} of ${limit} s`;
  const partLines = parts.map(({ name, status, seconds: took, note }) =>
    cut(
      `${status.padEnd(8)} ${name.padEnd(11)} ${took === undefined ? '    ' : `${String(Math.round(took)).padStart(3)}s`}  ${note}`,
    ),
  );
  const figures = parts.flatMap(({ name, figures: of }) => of.map((figure) => ({ part: name, ...figure })));
  // What misses its expectation first, then what matters most, then what has no expectation, then what meets it.
  const rank = ({ ok, key }) => (ok === false ? 0 : key ? 1 : ok === undefined ? 2 : 3);
  const sorted = [...figures].sort((a, b) => rank(a) - rank(b));
  const end = `All figures: results.json; what each part printed: log.txt. docs/gpu.md says what the findings are.`;
  const room = LINES - 2 - partLines.length;
  const shown = sorted.slice(0, sorted.length > room ? room - 1 : room).map(figureLine);
  const rest = sorted.slice(shown.length);
  const missed = rest.filter(({ ok }) => ok === false).length;
  const more =
    rest.length === 0
      ? []
      : [`     … ${rest.length} more figures${missed > 0 ? `, ${missed} of them to LOOK at` : ''}`];
  return `${[cut(head), ...partLines, ...shown, ...more, end].join('\n')}\n`;
}
