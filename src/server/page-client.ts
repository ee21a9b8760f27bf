// The page's script, which runs in the browser: page.ts puts it into the document.
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

interface Hit {
  id: string;
  similarity: number;
  probability?: number;
}
interface Found {
  hits: Hit[];
  size: number;
  took_ms: number;
}
interface Info {
  name: string;
  size: number;
  model: string;
  device: string;
  rerank_ms: number | null;
  limits: { max_body: number };
}
type Asked = { text: string } | { id: string } | { file: Blob; name: string };

const RERANKED = 16;
const STEP = 30;

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new TypeError(`The page has no ${id}.`);
}

const query = element('query', HTMLInputElement);
const rerank = element('rerank', HTMLInputElement);
const file = element('file', HTMLInputElement);
const results = element('results', HTMLOListElement);
const more = element('more', HTMLButtonElement);
const viewer = element('viewer', HTMLDialogElement);
const large = element('large', HTMLImageElement);
const preview = element('preview', HTMLImageElement);
const login = element('login', HTMLDialogElement);
const show = (id: string, isShown: boolean) => {
  element(id, HTMLElement).hidden = !isShown;
};
const say = (id: string, text: string) => {
  element(id, HTMLElement).textContent = text;
};

let asked: Asked | undefined;
let top = STEP;
let opened: Hit | undefined;
let running: AbortController | undefined;
let token = sessionStorage.getItem('token');

// ---- the server

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token !== null) headers.set('Authorization', `Bearer ${token}`);
  const response = await fetch(path, { ...init, headers });
  if (response.status === 401) {
    await askForToken();
    return call(path, init);
  }
  if (response.ok) return response;
  const { error } = (await response.json().catch(() => ({}))) as { error?: string };
  throw new Error(error ?? `The server answered ${response.status}.`);
}

let asking: Promise<void> | undefined;
function askForToken(): Promise<void> {
  asking ??= new Promise((resolve) => {
    login.showModal();
    login.addEventListener(
      'close',
      () => {
        token = element('token', HTMLInputElement).value.trim();
        sessionStorage.setItem('token', token);
        asking = undefined;
        resolve();
      },
      { once: true },
    );
  });
  return asking;
}
login.addEventListener('cancel', (event) => event.preventDefault());

/** An <img> sends no token: with one, the picture is fetched. */
async function setPicture(image: HTMLImageElement, path: string): Promise<void> {
  if (token === null) image.src = path;
  else image.src = URL.createObjectURL(await (await call(path)).blob());
}
const pathOf = (route: string, id: string) => `${route}?id=${encodeURIComponent(id)}`;

// ---- searching

async function search(next: Asked, options: { count?: number; keepsHistory?: boolean } = {}): Promise<void> {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  asked = next;
  top = options.count ?? STEP;
  const isText = 'text' in next;
  rerank.disabled = !isText;
  show('error', false);
  show('empty', false);
  showSample(next);
  if (options.keepsHistory !== true) remember(next);
  results.classList.add('busy');
  results.setAttribute('aria-busy', 'true');
  say('status', isText && rerank.checked ? `Searching and re-ranking${expected()}…` : 'Searching…');
  try {
    const body = isText ? { text: next.text, k: top, rerank: rerank.checked ? RERANKED : 0 } : { ...next, k: top };
    const init: RequestInit =
      'file' in next
        ? { body: next.file, headers: { 'Content-Type': 'application/octet-stream' } }
        : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
    const path = 'file' in next ? `/search?k=${top}` : '/search';
    const found = (await (await call(path, { method: 'POST', signal, ...init })).json()) as Found;
    if (signal.aborted) return;
    draw(found);
    void about();
  } catch (error) {
    if (signal.aborted) return;
    results.replaceChildren();
    show('more', false);
    say('status', '');
    say(
      'error',
      error instanceof TypeError ? 'The server cannot be reached. Is it running?' : String((error as Error).message),
    );
    show('error', true);
  } finally {
    if (!signal.aborted) {
      results.classList.remove('busy');
      results.removeAttribute('aria-busy');
    }
  }
}

function draw({ hits, size, took_ms: took }: Found): void {
  for (const image of results.querySelectorAll('img'))
    if (image.src.startsWith('blob:')) URL.revokeObjectURL(image.src);
  results.replaceChildren(...hits.map(card));
  const time = took < 1000 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`;
  const matched = hits.filter(({ probability }) => probability !== undefined).length;
  const tail = matched > 0 ? `, ${matched} re-ranked` : '';
  say('status', hits.length === 0 ? 'No pictures.' : `${hits.length} of ${size} pictures in ${time}${tail}.`);
  show('more', hits.length >= top && top < Math.min(size, 1000));
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, className = '', text = ''): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  made.textContent = text;
  return made;
}

function card(hit: Hit): HTMLLIElement {
  const item = make('li');
  const open = make('button', 'open');
  open.type = 'button';
  open.setAttribute('aria-label', `Open ${hit.id}, ${scoresOf(hit)}`);
  open.addEventListener('click', () => view(hit));
  const image = make('img');
  image.alt = '';
  image.loading = 'lazy';
  image.decoding = 'async';
  void setPicture(image, pathOf('/thumbnail', hit.id)).catch(() => {});
  open.append(image);
  const facts = make('div', 'facts');
  const name = make('div', 'id', hit.id);
  name.title = hit.id;
  facts.append(name);
  if (hit.probability !== undefined)
    facts.append(score('Match (ITM)', `${(hit.probability * 100).toFixed(1)} %`, hit.probability));
  facts.append(score('Similarity (ITC)', hit.similarity.toFixed(3), Math.max(0, hit.similarity)));
  const like = make('button', 'plain', 'More like this');
  like.type = 'button';
  like.setAttribute('aria-label', `More like this: ${hit.id}`);
  like.addEventListener('click', () => void search({ id: hit.id }));
  facts.append(like);
  item.append(open, facts);
  return item;
}

function score(name: string, text: string, value: number): HTMLElement {
  const row = make('div', 'score');
  const meter = make('meter');
  meter.value = value;
  meter.setAttribute('aria-label', name);
  row.append(make('span', '', name), make('b', '', text), meter);
  return row;
}

function scoresOf({ probability, similarity }: Hit): string {
  const match = probability === undefined ? '' : `match ${(probability * 100).toFixed(1)} %, `;
  return `${match}similarity ${similarity.toFixed(3)}`;
}

function view(hit: Hit): void {
  opened = hit;
  say('title', hit.id);
  say('scores', scoresOf(hit));
  large.alt = hit.id;
  large.removeAttribute('src');
  void setPicture(large, pathOf('/image', hit.id)).catch(() => {});
  viewer.showModal();
}
// Browsers do not show TIFF, for one.
large.addEventListener('error', () => {
  if (opened !== undefined && !large.dataset.failed) {
    large.dataset.failed = 'yes';
    void setPicture(large, pathOf('/thumbnail', opened.id)).catch(() => {});
  }
});
viewer.addEventListener('close', () => {
  delete large.dataset.failed;
});

function showSample(next: Asked): void {
  if (preview.src.startsWith('blob:')) URL.revokeObjectURL(preview.src);
  const isPicture = !('text' in next);
  show('sample', isPicture);
  if (!isPicture) return;
  query.value = '';
  say('caption', 'id' in next ? `Like ${next.id}` : `Like ${next.name}`);
  if ('file' in next) preview.src = URL.createObjectURL(next.file);
  else void setPicture(preview, pathOf('/thumbnail', next.id)).catch(() => {});
}

// ---- the address: a search can be linked to, and gone back to

function remember(next: Asked): void {
  const state = new URLSearchParams();
  if ('text' in next) state.set('q', next.text);
  if ('id' in next) state.set('like', next.id);
  if (rerank.checked) state.set('rerank', String(RERANKED));
  const address = `?${state}`;
  if (address !== location.search) history.pushState(null, '', address);
}

function recall(): void {
  const state = new URLSearchParams(location.search);
  const [text, like] = [state.get('q'), state.get('like')];
  rerank.checked = state.has('rerank');
  query.value = text ?? '';
  if (text) void search({ text }, { keepsHistory: true });
  else if (like) void search({ id: like }, { keepsHistory: true });
  else clear();
}

function clear(): void {
  running?.abort();
  asked = undefined;
  rerank.disabled = false;
  results.classList.remove('busy');
  results.replaceChildren();
  say('status', '');
  for (const id of ['sample', 'more', 'error']) show(id, false);
  show('empty', true);
}

// ---- what is said of the index

let information: Info | undefined;
function expected(): string {
  const each = information?.rerank_ms;
  if (each === null || each === undefined) return '';
  const seconds = (each * RERANKED) / 1000;
  return `, about ${seconds < 1 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${seconds.toFixed(1)} s`}`;
}

async function about(): Promise<void> {
  information = (await (await call('/info')).json()) as Info;
  const { name, size, model, device } = information;
  say('name', name);
  say('about', `${size.toLocaleString('en')} pictures · ${model} · ${device}`);
  say('cost', expected() === '' ? 'more exact, slower' : `more exact${expected()} more`);
}

// ---- input

element('form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const text = query.value.trim();
  if (text !== '') void search({ text });
});
rerank.addEventListener('change', () => {
  if (asked !== undefined && 'text' in asked) void search(asked);
});
more.addEventListener('click', () => {
  if (asked !== undefined) void search(asked, { count: Math.min(1000, top + STEP), keepsHistory: true });
});
element('choose', HTMLButtonElement).addEventListener('click', () => file.click());
element('clear', HTMLButtonElement).addEventListener('click', () => {
  history.pushState(null, '', location.pathname);
  clear();
  query.focus();
});
element('close', HTMLButtonElement).addEventListener('click', () => viewer.close());
element('like', HTMLButtonElement).addEventListener('click', () => {
  viewer.close();
  if (opened !== undefined) void search({ id: opened.id });
});
for (const idea of document.querySelectorAll('.idea'))
  idea.addEventListener('click', () => {
    query.value = idea.textContent ?? '';
    void search({ text: query.value });
  });

function take(files: Iterable<File> | undefined | null): boolean {
  const image = [...(files ?? [])].find(
    ({ type, name }) => type.startsWith('image/') || /\.(tiff?|avif|ppm)$/i.test(name),
  );
  if (image === undefined) return false;
  void search({ file: image, name: image.name || 'the pasted picture' });
  return true;
}
file.addEventListener('change', () => {
  take(file.files);
  file.value = '';
});
addEventListener('paste', (event) => {
  if (take(event.clipboardData?.files)) event.preventDefault();
});
let depth = 0;
const dragging = (by: number) => {
  depth = Math.max(0, depth + by);
  document.body.classList.toggle('dragging', depth > 0);
};
addEventListener('dragenter', () => dragging(1));
addEventListener('dragleave', () => dragging(-1));
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  dragging(-depth);
  if (take(event.dataTransfer?.files)) return;
  say('error', 'That is no picture. Drop a JPEG, PNG, WebP or another image file.');
  show('error', true);
});

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || viewer.open || login.open) return;
  const { activeElement: focused } = document;
  if (event.key === '/' && focused !== query) {
    event.preventDefault();
    query.select();
    query.focus();
    return;
  }
  const cards = [...results.querySelectorAll<HTMLElement>('.open')];
  const i = cards.findIndex((each) => each.parentElement?.contains(focused));
  const first = cards[0];
  if (first === undefined || (i < 0 && !(focused === query && event.key === 'ArrowDown'))) return;
  const columns = cards.filter((each) => each.getBoundingClientRect().top === first.getBoundingClientRect().top).length;
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  if (i < 0) first.focus();
  else if (i + step < 0 && event.key === 'ArrowUp') query.focus();
  else cards[i + step]?.focus();
});

addEventListener('popstate', recall);
void about().catch(() => {});
recall();

export {};
