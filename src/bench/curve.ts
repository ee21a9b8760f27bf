// A few measured points and the straight line through them, as an SVG picture.
import { at } from '../errors.js';
import { axisFor, chart } from '../logging/chart.js';

export interface Panel {
  title: string;
  xLabel: string;
  yLabel: string;
  /** At least two, x growing. */
  points: readonly (readonly [x: number, y: number])[];
}

const size = { width: 420, height: 300 };

/** Least squares: y = intercept + slope · x, and the part of the variance of y that it explains. */
export function fitLine(points: Panel['points']): { slope: number; intercept: number; r2: number } {
  const n = points.length;
  const [mx, my] = [points.reduce((sum, [x]) => sum + x, 0) / n, points.reduce((sum, [, y]) => sum + y, 0) / n];
  const sxx = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  const syy = points.reduce((sum, [, y]) => sum + (y - my) ** 2, 0);
  const sxy = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  const slope = sxx === 0 ? 0 : sxy / sxx;
  return { slope, intercept: my - slope * mx, r2: syy === 0 ? 1 : sxy ** 2 / (sxx * syy) };
}

/** Panels side by side, two to a row; both axes of each start at 0. */
export function curveSvg(panels: readonly Panel[]): string {
  const columns = Math.min(2, panels.length);
  const rows = Math.ceil(panels.length / columns);
  const drawn = panels.map((panel, i) => {
    const [x, y] = [(i % columns) * size.width, Math.floor(i / columns) * size.height];
    return `<g transform="translate(${x} ${y})">${panelSvg(panel)}</g>`;
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${columns * size.width}" height="${rows * size.height}" font-family="sans-serif" font-size="12">` +
    `<rect width="100%" height="100%" fill="white"/>\n${drawn.join('\n')}\n</svg>\n`
  );
}

function panelSvg({ title, xLabel, yLabel, points }: Panel): string {
  const { slope, intercept, r2 } = fitLine(points);
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const frame = { ...size, title: `${title} (R² ${r2.toFixed(4)})`, x: axisFor(xLabel, xs), y: axisFor(yLabel, ys) };
  const last = at(xs, xs.length - 1);
  return chart(frame, (px, py) => [
    `<path d="M${px(0)} ${py(intercept)}L${px(last)} ${py(intercept + slope * last)}" stroke="#2a6fb0" stroke-dasharray="4 3"/>`,
    ...points.map(([x, y]) => `<circle cx="${px(x)}" cy="${py(y)}" r="4" fill="#c23b22"/>`),
  ]);
}
