// The page of a search: one file with thumbnails inside, which asks nothing of any other.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import sharp from 'sharp';
import { decodeRgb } from '../data/images/decode.js';
import { writeFileAtomically } from '../disk/atomic-file.js';
import { printable } from '../errors.js';
import type { Hit, ImageIndex } from '../index/image-index.js';
import { counted } from '../logging/text.js';

export interface SearchPage {
  index: ImageIndex;
  query: { text: string } | { image: string };
  hits: readonly Hit[];
}

/** Longest side of a thumbnail in pixels: twice of what the page shows. */
const THUMBNAIL = 480;

/** Writes the page. Of files it reads those that the index names, as they were indexed. @throws UserError */
export async function writeSearchPage(path: string, { index, query, hits }: SearchPage): Promise<void> {
  const figures: string[] = [];
  for (const [i, hit] of hits.entries()) {
    const digest = (await index.get(hit.id))?.digest;
    figures.push(figure(i + 1, hit, await thumbnail(hit.path, digest)));
  }
  const asked = 'text' in query ? `“${attribute(query.text)}”` : `images like ${attribute(query.image)}`;
  const html = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${asked}</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
ol{list-style:none;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1.25rem}
figure{margin:0}img,.none{width:100%;height:14rem;object-fit:contain;background:#f1f1f1;border-radius:6px}
.none{display:flex;align-items:center;justify-content:center;color:#555;padding:1rem;box-sizing:border-box}
figcaption{overflow-wrap:anywhere;margin-top:.35rem}small,footer{color:#555}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}img,.none{background:#262626}small,footer,.none{color:#b5b5b5}}</style></head>
<body><main><h1>${asked}</h1>
<ol>
${figures.join('\n')}
</ol></main>
<footer>${hits.length} of ${counted(index.size, 'image')} of ${attribute(index.name)}. Similarity is the cosine of the two features, from −1 to 1; probability, of
images that were re-ranked, is that of a match by the ITM head.</footer></body></html>
`;
  await writeFileAtomically(resolve(path), (file) => file.write(new TextEncoder().encode(html)));
}

function figure(rank: number, { id, similarity, probability }: Hit, image: string | undefined): string {
  const name = attribute(id);
  const shown =
    image === undefined
      ? '<div class="none">The file has gone or has changed.</div>'
      : `<img src="data:image/jpeg;base64,${image}" alt="${name}">`;
  const match = probability === undefined ? '' : `, probability ${probability.toFixed(4)}`;
  return `<li><figure>${shown}<figcaption>${rank}. ${name}<br><small>similarity ${similarity.toFixed(4)}${match}</small></figcaption></figure></li>`;
}

/** A small JPEG in base64; undefined where the file is not the one that was indexed. */
async function thumbnail(path: string | undefined, digest: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined || createHash('sha256').update(bytes).digest('hex') !== digest) return undefined;
  const { data, width, height } = await decodeRgb(bytes, { name: path });
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  const small = image.resize(THUMBNAIL, THUMBNAIL, { fit: 'inside', withoutEnlargement: true });
  return (await small.jpeg({ quality: 80 }).toBuffer()).toString('base64');
}

/** For content and for attributes in double quotes, without characters that would turn the text around. */
function attribute(text: string): string {
  return printable(text, 1000).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
