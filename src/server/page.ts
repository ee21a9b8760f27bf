// GET /: one document, with its style and its script in it. The script is page-client.ts, compiled.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { STYLE } from './page-style.js';

const BODY = `<header>
<h1>Search <span id="name">pictures</span></h1>
<p id="about"></p>
</header>
<main>
<form id="form" role="search">
<div class="field">
<label class="hidden" for="query">Describe a picture</label>
<input id="query" type="search" placeholder="Describe a picture, or drop one here" autocomplete="off" maxlength="2000" enterkeyhint="search" aria-describedby="hint">
<button type="button" id="choose" class="plain" aria-label="Search by a picture" title="Search by a picture"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01"/></svg></button>
<button type="submit">Search</button>
</div>
<input id="file" type="file" accept="image/*" class="hidden" tabindex="-1" aria-hidden="true">
<div class="options">
<label class="switch"><input id="rerank" type="checkbox" role="switch"><span aria-hidden="true"></span>Re-rank the best <span id="count">16</span></label>
<span id="cost"></span>
<span id="hint"><kbd>/</kbd> search <kbd>←</kbd><kbd>→</kbd><kbd>↑</kbd><kbd>↓</kbd> move <kbd>Enter</kbd> open</span>
</div>
<div id="sample" hidden><img id="preview" alt="The picture that is searched by"><span id="caption"></span><button type="button" id="clear" class="plain">Remove</button></div>
</form>
<p id="error" role="alert" hidden></p>
<p id="status" role="status" aria-live="polite"></p>
<ol id="results" aria-label="Pictures found"></ol>
<button type="button" id="more" hidden>Show more</button>
<p id="empty">Say what is in the picture: <button type="button" class="idea">a dog in snow</button> <button type="button" class="idea">people at a table</button> <button type="button" class="idea">a red bus</button><br>Or drop, paste or choose a picture to find ones like it.</p>
</main>
<dialog id="viewer" aria-labelledby="title"><div class="bar"><h2 id="title"></h2><button type="button" id="like">More like this</button><button type="button" id="close" class="plain" aria-label="Close">✕</button></div><img id="large" alt=""><p id="scores"></p></dialog>
<dialog id="login" aria-labelledby="ask"><form id="tokenform" method="dialog"><h2 id="ask">This server wants its token</h2><label for="token">Token</label><input id="token" type="password" autocomplete="current-password" required><button type="submit">Enter</button></form></dialog>
<div id="drop" aria-hidden="true">Drop the picture to find ones like it</div>`;

export interface Page {
  html: string;
  /** Content-Security-Policy: this script and this style alone, nothing from anywhere else. */
  policy: string;
}

export function makePage(): Page {
  const script = readFileSync(new URL('./page-client.js', import.meta.url), 'utf8');
  const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(STYLE)}`,
    "img-src 'self' blob:",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Picture search</title>
<style>${STYLE}</style>
</head>
<body>
${BODY}
<script type="module">${script}</script>
</body>
</html>
`;
  return { html, policy };
}
