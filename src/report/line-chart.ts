// A line chart as SVG, drawn in the colours of the page's style sheet (classes s0, s1, … and l0, l1, …): ticks that are
// round numbers, and each line's name at its end. Sizes are in the units of the viewBox; the page scales it.
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
    .map(({ name, points }) => ({ name, points: points.filter((point) => point.every(Number.isFinite)) }))
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
  for (const [i, { points }] of series.entries())
    parts.push(
      points.length > 1
        ? `<polyline class="s${i}" points="${points.map(([x, y]) => `${n(px(x))},${n(py(y))}`).join(' ')}"/>`
        : points.map(([x, y]) => `<circle class="s${i}" cx="${n(px(x))}" cy="${n(py(y))}" r="2.5"/>`).join(''),
    );
  const ends = series.map(({ points }) => at(points, points.length - 1));
  for (const [i, y] of spreadOut(ends.map(([, value]) => py(value) - 6)).entries()) {
    const [, value] = at(ends, i);
    parts.push(
      `<text class="l${i} halo" x="${PLOT.right}" y="${n(y)}" text-anchor="end">${escapeHtml(at(series, i).name)} ${format(value)}</text>`,
    );
  }
  const spoken = series.map(({ name }, i) => `${name} ends at ${format(at(ends, i)[1])}`).join(', ');
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${quoteHtml(`${title}, by ${xLabel}: ${spoken}`)}">${parts.join('')}</svg></figure>`;
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
