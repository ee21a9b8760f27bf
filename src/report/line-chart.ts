// A line chart as SVG, drawn in the colours of the page's style sheet (classes s0 to s4 for lines, l0 to l4 for their names,
// d1, d2 and d3 where colours begin anew): ticks that are round numbers, and each line's name at its end, or below the chart
// where there are many. Sizes are in the units of the viewBox; the page scales it.
import { at } from '../errors.js';
import { escapeHtml, quoteHtml } from '../logging/text.js';

export interface Series {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
}

export interface LineChart {
  /** What the chart shows, for its caption and for those who hear it. */
  title: string;
  xLabel: string;
  series: readonly Series[];
  /** Written behind each tick of the y axis, such as ' %'. */
  unit?: string;
  /** The y axis begins at this value; else near the least one. */
  yFrom?: number;
  yTo?: number;
  /** Ticks of the x axis where they are whole numbers of something; else round ones. */
  wholeX?: boolean;
  /** How a value is written at a line's end. */
  format?: (value: number) => string;
  /** A vertical line, and its name. */
  mark?: { x: number; name: string };
}

const WIDTH = 360;
const HEIGHT = 210;
const PLOT = { left: 46, right: 350, top: 14, bottom: 168 };
/** Least distance of the names at the ends of lines. */
const LINE_HEIGHT = 13;
/** About the width of a name's letter. */
const LETTER = 6.4;
/** Names that find room at the ends of lines, and their letters. More are listed below the chart. */
const MOST_NAMES = 2;
const MOST_LETTERS = 28;
const COLOURS = 5;
const DASHES = 4;

/** The classes of line i: five colours, then the same ones dashed otherwise. */
function lineClass(i: number): string {
  const dash = Math.floor(i / COLOURS) % DASHES;
  return dash === 0 ? `s${i % COLOURS}` : `s${i % COLOURS} d${dash}`;
}

/** Round numbers from about `low` to about `high`, at most `most` + 1 of them: steps of 1, 2 or 5 times a power of ten. */
export function roundTicks(low: number, high: number, most: number, whole = false): number[] {
  const span = high > low ? high - low : Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = Math.max(whole ? 1 : 0, ([1, 2, 5, 10].find((each) => each * power >= span / most) ?? 10) * power);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** A <figure> with the chart; undefined where no line has two points. */
export function lineChart(chart: LineChart): string | undefined {
  const { title, xLabel, unit = '', wholeX = false, mark } = chart;
  const { format = (value: number) => `${value.toFixed(1)}${unit}` } = chart;
  const series = chart.series
    // A line keeps its number where others have no points: a run has one colour in all charts.
    .map(({ name, points }, i) => ({ i, name, points: points.filter((point) => point.every(Number.isFinite)) }))
    .filter(({ points }) => points.length > 0);
  if (!series.some(({ points }) => points.length > 1)) return undefined;
  const all = series.flatMap(({ points }) => points);
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const [low, high] = [least(ys), greatest(ys)];
  const yTicks = roundTicks(chart.yFrom ?? low, chart.yTo ?? high, 4);
  const xTicks = roundTicks(least(xs), greatest(xs), 6, wholeX).filter(
    (tick) => tick >= least(xs) - 1e-9 && tick <= greatest(xs) + 1e-9,
  );
  const [yLow, yHigh] = [at(yTicks, 0), at(yTicks, yTicks.length - 1)];
  const [xLow, xHigh] = [least(xs), Math.max(greatest(xs), least(xs) + 1e-9)];
  const px = (x: number) => PLOT.left + ((x - xLow) / (xHigh - xLow)) * (PLOT.right - PLOT.left);
  const py = (y: number) => PLOT.bottom - ((y - yLow) / (yHigh - yLow)) * (PLOT.bottom - PLOT.top);
  const n = (value: number) => Number(value.toFixed(1));

  const parts = yTicks.map(
    (tick) =>
      `<path class="grid" d="M${PLOT.left} ${n(py(tick))}H${PLOT.right}"/><text x="${PLOT.left - 6}" y="${n(py(tick)) + 4}" text-anchor="end">${plain(tick)}${unit}</text>`,
  );
  parts.push(
    ...xTicks.map(
      (tick) => `<text x="${n(px(tick))}" y="${PLOT.bottom + 17}" text-anchor="middle">${plain(tick)}</text>`,
    ),
    `<text class="muted" x="${(PLOT.left + PLOT.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>`,
  );
  if (mark !== undefined)
    parts.push(
      `<path class="mark" d="M${n(px(mark.x))} ${PLOT.top}V${PLOT.bottom}"/><text class="muted" x="${n(px(mark.x)) + (px(mark.x) > 200 ? -4 : 4)}" y="${PLOT.bottom - 6}" text-anchor="${px(mark.x) > 200 ? 'end' : 'start'}">${escapeHtml(mark.name)}</text>`,
    );
  for (const { i, points } of series)
    parts.push(
      points.length > 1
        ? `<polyline class="${lineClass(i)}" points="${points.map(([x, y]) => `${n(px(x))},${n(py(y))}`).join(' ')}"/>`
        : points
            .map(([x, y]) => `<circle class="${lineClass(i)}" cx="${n(px(x))}" cy="${n(py(y))}" r="2.5"/>`)
            .join(''),
    );
  const names = series.map(({ name, points }) => `${name} ${format(at(at(points, points.length - 1), 1))}`);
  const endsEarly = series.some(({ points }) => px(at(at(points, points.length - 1), 0)) < PLOT.right - MOST_LETTERS);
  const isListed = endsEarly || names.length > MOST_NAMES || names.some((name) => name.length > MOST_LETTERS);
  if (!isListed) {
    const drawn = series.map(({ points }) => points.map(([x, y]) => [px(x), py(y)] as const));
    const heights = drawn.map((points, i) => nameHeight(points, at(names, i)));
    for (const [i, y] of spreadOut(heights).entries())
      parts.push(
        `<text class="l${at(series, i).i} halo" x="${PLOT.right}" y="${n(y)}" text-anchor="end">${escapeHtml(at(names, i))}</text>`,
      );
  }
  const spoken = series
    .map(({ name, points }) => `${name} ends at ${format(at(at(points, points.length - 1), 1))}`)
    .join(', ');
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${quoteHtml(`${title}, by ${xLabel}: ${spoken}`)}">${parts.join('')}</svg>${isListed ? legend(series.map(({ i }, n) => [lineClass(i), at(names, n)])) : ''}</figure>`;
}

/** The names below the chart, each with a piece of its line. */
function legend(lines: readonly (readonly [className: string, name: string])[]): string {
  const items = lines.map(
    ([className, name]) =>
      `<li><svg viewBox="0 0 30 8" aria-hidden="true"><polyline class="${className}" points="0,4 30,4"/></svg><bdi>${escapeHtml(name)}</bdi></li>`,
  );
  return `<ul class="legend">${items.join('')}</ul>`;
}

/** Where a line's name stands at its end without hiding the line: above what is drawn there, or else below it. */
function nameHeight(points: readonly (readonly [x: number, y: number])[], name: string): number {
  const from = PLOT.right - name.length * LETTER;
  const first = points.findLastIndex(([x]) => x <= from); // the line comes from there
  const beside = points.slice(Math.max(0, first)).map(([, y]) => y);
  const above = least(beside) - 6;
  return above >= PLOT.top + 8 ? above : Math.min(greatest(beside) + 14, PLOT.bottom - 4);
}

const least = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const greatest = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
const plain = (value: number) =>
  Math.abs(value) > 0 && Math.abs(value) < 0.001 ? value.toExponential(0) : String(value);

/** The heights moved apart to LINE_HEIGHT, inside the plot, in their order. */
function spreadOut(heights: readonly number[]): number[] {
  const order = Array.from(heights.keys()).sort((a, b) => at(heights, a) - at(heights, b));
  const placed = [...heights];
  let least = PLOT.top + 8;
  for (const i of order) {
    placed[i] = Math.max(at(placed, i), least);
    least = at(placed, i) + LINE_HEIGHT;
  }
  let most = PLOT.bottom - 4;
  for (const i of order.reverse()) {
    placed[i] = Math.min(at(placed, i), most);
    most = at(placed, i) - LINE_HEIGHT;
  }
  return placed;
}
