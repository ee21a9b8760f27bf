// A few measured points and the straight line through them, as an SVG picture.
import { at } from '../errors.js';
import { escapeHtml } from '../logging/text.js';

export interface Panel {
  title: string;
  xLabel: string;
  yLabel: string;
  /** At least two, x growing. */
  points: readonly (readonly [x: number, y: number])[];
}

const width = 420;
const height = 300;
const margin = { left: 64, right: 16, top: 36, bottom: 44 };

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
    const [x, y] = [(i % columns) * width, Math.floor(i / columns) * height];
    return `<g transform="translate(${x} ${y})">${panelSvg(panel)}</g>`;
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${columns * width}" height="${rows * height}" font-family="sans-serif" font-size="12">` +
    `<rect width="100%" height="100%" fill="white"/>\n${drawn.join('\n')}\n</svg>\n`
  );
}

function panelSvg({ title, xLabel, yLabel, points }: Panel): string {
  const [xTop, yTop] = [roundUp(Math.max(...points.map(([x]) => x))), roundUp(Math.max(...points.map(([, y]) => y)))];
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const px = (x: number) => (margin.left + (x / xTop) * (right - margin.left)).toFixed(1);
  const py = (y: number) => (bottom - (y / yTop) * (bottom - margin.top)).toFixed(1);
  const { slope, intercept, r2 } = fitLine(points);
  const [last] = at(points, points.length - 1);
  const parts = [
    `<text x="${margin.left}" y="20" font-weight="bold">${escapeHtml(title)} (R² ${r2.toFixed(4)})</text>`,
    `<path d="M${margin.left} ${margin.top}V${bottom}H${right}" fill="none" stroke="#444"/>`,
    `<path d="M${px(0)} ${py(intercept)}L${px(last)} ${py(intercept + slope * last)}" stroke="#2a6fb0" stroke-dasharray="4 3"/>`,
    `<text x="${(margin.left + right) / 2}" y="${height - 8}" text-anchor="middle">${escapeHtml(xLabel)}</text>`,
    `<text transform="translate(14 ${(margin.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(yLabel)}</text>`,
  ];
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const [x, y] = [xTop * part, yTop * part];
    parts.push(`<text x="${px(x)}" y="${bottom + 16}" text-anchor="middle">${label(x)}</text>`);
    parts.push(`<text x="${margin.left - 6}" y="${py(y)}" dy="4" text-anchor="end">${label(y)}</text>`);
  }
  for (const [x, y] of points) parts.push(`<circle cx="${px(x)}" cy="${py(y)}" r="4" fill="#c23b22"/>`);
  return parts.join('');
}

/** The next of 1, 2, 4, 8 times a power of ten: quarters of it are short numbers. */
function roundUp(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4, 8].find((step) => step * power >= value) ?? 10);
}

const label = (value: number) => String(Number(value.toPrecision(3)));
