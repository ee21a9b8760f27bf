// The gallery: what was found for a few queries, the right answers marked, worst mistakes first.
import type { Example } from '../evaluation/examples.js';
import { escapeHtml, quoteHtml, shortened } from '../logging/text.js';
import type { Thumbnails } from './thumbnails.js';

interface Examples {
  captions: readonly Example[];
  images: readonly Example[];
}

/** Paths of the images that the gallery shows, those of captions first; one that is shown twice is there twice. */
export function galleryImages({ captions, images }: Examples): string[] {
  const ofCaptions = captions.flatMap((example) => [...example.found.map(({ name }) => name), ...wantedImage(example)]);
  return [...ofCaptions, ...images.map(({ query }) => query)];
}

/** The right image of a caption, where it is not among those that are shown. */
const wantedImage = ({ found, right }: Example) => (found.some(({ isRight }) => isRight) ? [] : right.slice(0, 1));

/** A caption or a name: apart from the text around it, whichever way it is written. */
const named = (text: string) => (text === '' ? '<i>(empty)</i>' : `<bdi>${escapeHtml(shortened(text))}</bdi>`);

export function gallery({ captions, images }: Examples, thumbnails: Thumbnails): string {
  const sections = [
    section('Images found for a caption', captions, (example) => captionQuery(example, thumbnails)),
    section('Captions found for an image', images, (example) => imageQuery(example, thumbnails)),
  ];
  return sections.join('\n');
}

function section(title: string, examples: readonly Example[], show: (example: Example) => string): string {
  if (examples.length === 0) return '';
  const part = (kind: Example['kind'], name: string) => {
    const own = examples.filter((example) => example.kind === kind);
    return own.length === 0 ? '' : `<h3>${name}</h3>\n${own.map(show).join('\n')}`;
  };
  return `<h2>${title}</h2>\n${part('worst', 'Worst mistakes')}\n${part('random', 'A random sample')}`;
}

/** A name for those who hear it. */
const heard = (path: string) => shortened(path, 100);

/** Where the right answer stands, in words and colour. */
function verdict(rank: number | null): string {
  if (rank === null) return '<span class="muted">no right answer known</span>';
  if (rank === 1) return '<span class="good">right answer first</span>';
  return `<span class="${rank <= 5 ? 'muted' : 'bad'}">right answer at rank ${rank}</span>`;
}

/** Two digits, without the sign of what is nothing then. */
const rounded = (value: number) => value.toFixed(2).replace(/^-(0\.00)$/, '$1');

/** Scores decide the order; the similarity is in brackets. */
const scores = ({ score, similarity }: Pick<Example['found'][number], 'score' | 'similarity'>) =>
  `<small>${rounded(score)} (similarity ${rounded(similarity)})</small>`;

function picture(path: string, alt: string, thumbnails: Thumbnails): string {
  const uri = thumbnails.get(path);
  return uri === undefined
    ? `<span class="gone" role="img" aria-label="${quoteHtml(alt)}">${named(path)}</span>`
    : `<img src="${uri}" alt="${quoteHtml(alt)}" title="${quoteHtml(heard(path))}">`;
}

function captionQuery(example: Example, thumbnails: Thumbnails): string {
  const { query, rank, found } = example;
  const items = found.map(({ name, isRight, ...values }, i) => {
    const alt = `Rank ${i + 1}: ${heard(name)}${isRight ? ', the right image' : ''}`;
    return `<li class="${isRight ? 'right' : ''}">${picture(name, alt, thumbnails)}${scores(values)}</li>`;
  });
  const wanted = wantedImage(example).map(
    (answer) =>
      `<details><summary>The right image</summary><ul class="found"><li class="right">${picture(answer, `The right image: ${heard(answer)}`, thumbnails)}</li></ul></details>`,
  );
  return `<div class="query"><p>“${named(query)}” ${verdict(rank)}</p><ol class="found">${items.join('')}</ol>${wanted.join('')}</div>`;
}

/** Right captions that are named where none of them was found. */
const NAMED = 10;

function imageQuery({ query, rank, found, right }: Example, thumbnails: Thumbnails): string {
  const items = found.map(
    ({ name, isRight, ...values }) =>
      `<li${isRight ? ' class="right"' : ''}>${named(name)}${isRight ? ' <span class="mark-right">right</span>' : ''} ${scores(values)}</li>`,
  );
  const isFound = found.some(({ isRight }) => isRight);
  const more = right.length > NAMED ? ` and ${right.length - NAMED} more` : '';
  const wanted =
    isFound || right.length === 0
      ? ''
      : `<p><small>Right: ${right.slice(0, NAMED).map(named).join(' / ')}${more}</small></p>`;
  return `<div class="query"><p>${verdict(rank)}</p><div class="asked">${picture(query, `The image that was asked for: ${heard(query)}`, thumbnails)}<div><ol>${items.join('')}</ol>${wanted}</div></div></div>`;
}
