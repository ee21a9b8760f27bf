// The gallery: what was found for a few queries, the right answers marked, worst mistakes first.
import type { Example } from '../evaluation/examples.js';
import { escapeHtml, quoteHtml } from '../logging/text.js';
import type { Thumbnails } from './thumbnails.js';

interface Examples {
  captions: readonly Example[];
  images: readonly Example[];
}

/** Paths of the images that the gallery shows, those of captions first. */
export function galleryImages({ captions, images }: Examples): string[] {
  const ofCaptions = captions.flatMap(({ found, right }) => [...found.map(({ name }) => name), ...right]);
  return [...new Set([...ofCaptions, ...images.map(({ query }) => query)])];
}

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

/** Where the right answer stands, in words and colour. */
function verdict(rank: number | null): string {
  if (rank === null) return '<span class="muted">no right answer known</span>';
  if (rank === 1) return '<span class="good">right answer first</span>';
  return `<span class="${rank <= 5 ? 'muted' : 'bad'}">right answer at rank ${rank}</span>`;
}

/** Scores decide the order; the similarity is in brackets. */
const scores = ({ score, similarity }: Example['found'][number]) =>
  `<small>${score.toFixed(2)} (similarity ${similarity.toFixed(2)})</small>`;

function picture(path: string, alt: string, thumbnails: Thumbnails): string {
  const uri = thumbnails.get(path);
  return uri === undefined
    ? `<span class="gone" role="img" aria-label="${quoteHtml(alt)}">${escapeHtml(path)}</span>`
    : `<img src="${uri}" alt="${quoteHtml(alt)}" title="${quoteHtml(path)}">`;
}

function captionQuery({ query, rank, found, right }: Example, thumbnails: Thumbnails): string {
  const items = found.map(
    (each, i) =>
      `<li class="${each.isRight ? 'right' : ''}">${picture(each.name, `Rank ${i + 1}: ${each.name}${each.isRight ? ', the right image' : ''}`, thumbnails)}${scores(each)}</li>`,
  );
  const [answer] = right;
  const wanted =
    answer !== undefined && !found.some(({ isRight }) => isRight)
      ? `<details><summary>The right image</summary><ul class="found"><li class="right">${picture(answer, `The right image: ${answer}`, thumbnails)}</li></ul></details>`
      : '';
  return `<div class="query"><p>“${escapeHtml(query)}” ${verdict(rank)}</p><ol class="found">${items.join('')}</ol>${wanted}</div>`;
}

function imageQuery({ query, rank, found, right }: Example, thumbnails: Thumbnails): string {
  const items = found.map(
    (each) =>
      `<li${each.isRight ? ' class="right"' : ''}>${escapeHtml(each.name)}${each.isRight ? ' <span class="mark-right">right</span>' : ''} ${scores(each)}</li>`,
  );
  const isFound = found.some(({ isRight }) => isRight);
  const wanted =
    isFound || right.length === 0
      ? ''
      : `<p><small>Right: ${right.map((caption) => escapeHtml(caption)).join(' / ')}</small></p>`;
  return `<div class="query"><p>${verdict(rank)}</p><div class="asked">${picture(query, `The image that was asked for: ${query}`, thumbnails)}<div><ol>${items.join('')}</ol>${wanted}</div></div></div>`;
}
