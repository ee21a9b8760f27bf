// Scenes of two coloured shapes on a coloured background: all of them by number, their captions, and their pixels.

import type { Random } from '../data/random.js';
import { at } from '../errors.js';

const COLORS = {
  red: [214, 45, 48],
  green: [45, 160, 70],
  blue: [45, 85, 210],
  yellow: [238, 208, 52],
  orange: [242, 138, 34],
  purple: [132, 62, 172],
  white: [246, 246, 244],
  black: [24, 24, 26],
} as const satisfies Record<string, readonly [number, number, number]>;

type Color = keyof typeof COLORS;
const colorNames = ['red', 'green', 'blue', 'yellow', 'orange', 'purple', 'white', 'black'] as const satisfies Color[];

const SHAPES = ['circle', 'square', 'triangle', 'ring'] as const;
type Shape = (typeof SHAPES)[number];

interface Thing {
  shape: Shape;
  color: Color;
}

/** What a picture shows: `first` is left of `second`, or above it. */
export interface Scene {
  first: Thing;
  second: Thing;
  background: Color;
  beside: boolean;
}

/** Three different colours, two shapes, two relations. */
const C = colorNames.length;
const S = SHAPES.length;
export const SCENE_COUNT = C * (C - 1) * (C - 2) * S * S * 2;

/** Scene number `index` of SCENE_COUNT different ones. */
export function sceneAt(index: number): Scene {
  let rest = index;
  const digit = (base: number) => {
    const value = rest % base;
    rest = Math.floor(rest / base);
    return value;
  };
  const colors: Color[] = [...colorNames];
  const color = () => at(colors.splice(digit(colors.length), 1), 0);
  const shape = () => at(SHAPES, digit(S));
  const beside = digit(2) === 0;
  const first = { shape: shape(), color: color() };
  const second = { shape: shape(), color: color() };
  return { first, second, background: color(), beside };
}

/** Five captions of a scene, as five people might word it. */
export function captionsOf({ first, second, background, beside }: Scene): string[] {
  const a = `${first.color} ${first.shape}`;
  const b = `${second.color} ${second.shape}`;
  const relation = beside ? 'to the left of' : 'above';
  const inverse = beside ? 'to the right of' : 'below';
  const [here, there] = beside ? ['on the left', 'on the right'] : ['at the top', 'at the bottom'];
  return [
    `${capital(article(a))} ${relation} ${article(b)}.`,
    `${article(b)} ${inverse} ${article(a)}, everything around them is ${background}`,
    `On ${background}: ${article(a)} ${here}, ${article(b)} ${there}.`,
    `There is ${article(a)} ${here} and ${article(b)} ${there} of this picture`,
    `${capital(article(`${background} picture`))} of ${article(a)} ${relation} ${article(b)}`,
  ];
}

/** Width and height in pixels. */
export interface Size {
  width: number;
  height: number;
}

const SIZES: readonly Size[] = [
  { width: 160, height: 120 },
  { width: 120, height: 160 },
  { width: 192, height: 128 },
  { width: 128, height: 128 },
  { width: 210, height: 140 },
];

/** Samples along an edge of a pixel: shapes get soft edges, as in a photograph. */
const SAMPLES = 3;
const NOISE = 10;

/** The scene as pixels, (height, width, 3) uint8; the picture's size, the shapes' positions and sizes, and noise vary. */
export function drawScene(scene: Scene, random: Random): Size & { pixels: Uint8Array } {
  const { width, height } = random.pick(SIZES);
  const along = scene.beside ? width : height;
  const radius = Math.min(along / 4, Math.min(width, height) / 2.5);
  const things = [scene.first, scene.second].map(({ shape, color }, i) => {
    const main = (along * (1 + 2 * i)) / 4 + random.between(-0.03, 0.03) * along;
    const cross = (scene.beside ? height : width) * random.between(0.42, 0.58);
    const [x, y] = scene.beside ? [main, cross] : [cross, main];
    return { inside: INSIDE[shape], color: COLORS[color], x, y, radius: radius * random.between(0.7, 0.9) };
  });
  const background = COLORS[scene.background];
  const pixels = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const pixel: [number, number, number] = [...background];
      for (const thing of things) {
        const covered = coverage(thing, column, row);
        for (const c of [0, 1, 2] as const) pixel[c] += (thing.color[c] - pixel[c]) * covered;
      }
      for (const c of [0, 1, 2] as const) {
        const value = Math.round(pixel[c] + random.between(-NOISE, NOISE));
        pixels[(row * width + column) * 3 + c] = Math.min(255, Math.max(0, value));
      }
    }
  }
  return { width, height, pixels };
}

/** Whether a point is inside a shape that fills [-1, 1] squared, y downwards. */
const INSIDE: Readonly<Record<Shape, (x: number, y: number) => boolean>> = {
  circle: (x, y) => x * x + y * y <= 1,
  square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.9,
  triangle: (x, y) => y <= 0.85 && Math.abs(x) <= (y + 1) / 1.85,
  ring: (x, y) => x * x + y * y <= 1 && x * x + y * y >= 0.36,
};

interface Placed {
  inside: (x: number, y: number) => boolean;
  x: number;
  y: number;
  radius: number;
}

function coverage({ inside, x, y, radius }: Placed, column: number, row: number): number {
  if (Math.abs(column - x) > radius + 1 || Math.abs(row - y) > radius + 1) return 0;
  let hits = 0;
  for (let i = 0; i < SAMPLES * SAMPLES; i++) {
    const px = column + ((i % SAMPLES) + 0.5) / SAMPLES;
    const py = row + (Math.floor(i / SAMPLES) + 0.5) / SAMPLES;
    if (inside((px - x) / radius, (py - y) / radius)) hits++;
  }
  return hits / (SAMPLES * SAMPLES);
}

function article(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
