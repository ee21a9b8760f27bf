// A chart as SVG: two axes that start at 0, their ticks and labels, and what is drawn between them.
import { escapeHtml } from './text.js';

/** One axis, from 0 to `top`. */
export interface Axis {
  label: string;
  top: number;
  ticks: readonly (readonly [value: number, text: string])[];
}

export interface Frame {
  width: number;
  height: number;
  title?: string;
  x: Axis;
  y: Axis;
}

/** A value of an axis as a coordinate of the picture. */
export type Place = (value: number) => string;

/** An axis for `values`, with five ticks. */
export function axisFor(label: string, values: readonly number[]): Axis {
  const top = roundUp(Math.max(...values));
  const quarters = [0, 0.25, 0.5, 0.75, 1].map((part) => top * part);
  return { label, top, ticks: quarters.map((value) => [value, String(Number(value.toPrecision(3)))]) };
}

/** The next of 1, 2, 4, 8 times a power of ten: quarters of it are short numbers. */
function roundUp(value: number): number {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4, 8].find((step) => step * power >= value) ?? 10);
}

const margin = { left: 64, right: 16, top: 36, bottom: 44 };

/** The elements of a chart, to go into an <svg> of its size or a <g>; `draw` gives those that show the data. */
export function chart({ width, height, title = '', x, y }: Frame, draw: (px: Place, py: Place) => string[]): string {
  const [right, bottom] = [width - margin.right, height - margin.bottom];
  const px: Place = (value) => (margin.left + (value / x.top) * (right - margin.left)).toFixed(1);
  const py: Place = (value) => (bottom - (value / y.top) * (bottom - margin.top)).toFixed(1);
  const parts = [
    `<text x="${margin.left}" y="20" font-weight="bold">${escapeHtml(title)}</text>`,
    `<path d="M${margin.left} ${margin.top}V${bottom}H${right}" fill="none" stroke="#444"/>`,
    `<text x="${(margin.left + right) / 2}" y="${height - 8}" text-anchor="middle">${escapeHtml(x.label)}</text>`,
    `<text transform="translate(14 ${(margin.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(y.label)}</text>`,
    ...x.ticks.map(([value, text]) => `<text x="${px(value)}" y="${bottom + 16}" text-anchor="middle">${text}</text>`),
    ...y.ticks.map(
      ([value, text]) => `<text x="${margin.left - 6}" y="${py(value)}" dy="4" text-anchor="end">${text}</text>`,
    ),
    ...draw(px, py),
  ];
  return parts.join('');
}
