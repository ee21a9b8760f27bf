// Images that a Retriever fetches: http addresses within limits of size and time, and file URLs.
// Covers image-input.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { at } from '#blip/errors.js';
import { Retriever, UserError } from '#blip/index.js';
import { deviceOfRank } from '../helpers/device.js';
import { temporaryFolder } from '../helpers/files.js';
import { tinyCheckpoint, tinyData } from '../helpers/tiny-run.js';

const folder = temporaryFolder();
const image = join(
  tinyData,
  'images',
  at(
    readdirSync(join(tinyData, 'images'), { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.jpg'),
    ),
    0,
  ),
);
const bytes = readFileSync(image);
let atOnce = 0;
let most = 0;

const answers: Record<string, (response: ServerResponse) => void> = {
  '/cat.jpg': (response) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
  '/chunked.jpg': (response) => void response.writeHead(200).end(bytes),
  '/moved.jpg': (response) => response.writeHead(302, { location: '/cat.jpg' }).end(),
  '/large.jpg': (response) => response.writeHead(200, { 'content-length': 5_000_000 }).write('x'),
  '/endless.jpg': (response) => {
    const write = () => {
      if (!response.destroyed) response.write(Buffer.alloc(65_536), write);
    };
    response.writeHead(200);
    write();
  },
  '/cut.jpg': (response) => {
    response.writeHead(200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, 100), () => response.destroy());
  },
  '/page.jpg': (response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><html></html>'),
  '/busy.jpg': (response) => response.writeHead(503).end(),
  '/silent.jpg': () => {},
};
const server = createServer((request, response) => {
  atOnce += 1;
  most = Math.max(most, atOnce);
  response.on('close', () => (atOnce -= 1));
  const answer = answers[(request.url ?? '').replace(/\?.*/, '')];
  if (answer === undefined) response.writeHead(404).end();
  else setTimeout(() => answer(response), 2);
});
let url: (path: string) => URL;
let checkpoint: string;
let blip: Retriever;

before(async () => {
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  url = (path) => new URL(path, `http://127.0.0.1:${port}`);
  checkpoint = await tinyCheckpoint(folder);
  blip = await Retriever.open(checkpoint, { device: deviceOfRank(0), maxImageBytes: 1_000_000, fetchTimeout: 60_000 });
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await blip.close();
});

test('an image is fetched, also in chunks and from where it has moved', async () => {
  const [expected, ...features] = await blip.embedImages([
    image,
    ...['/cat.jpg', '/chunked.jpg', '/moved.jpg', '/cat.jpg?token=1'].map((path) => url(path)),
  ]);
  // Images of one batch may differ in the last bits.
  for (const feature of features)
    assert.ok(feature.every((value, i) => Math.abs(value - (expected?.[i] ?? Number.NaN)) < 1e-6));
  assert.ok((await blip.match(url('/cat.jpg'), 'a cat')).probability > 0);
});

test('many addresses are fetched a few at a time', async () => {
  most = 0;
  await Promise.all(Array.from({ length: 50 }, () => blip.embedImage(url('/cat.jpg'))));
  assert.ok(most <= 16, `${most} at once`);
});

const failures: [path: string, message: RegExp][] = [
  ['/absent.jpg', /absent\.jpg answered 404: there is no such file/],
  ['/large.jpg', /large\.jpg is too large: .* are more than the limit of .*`maxImageBytes`\.$/],
  ['/endless.jpg', /endless\.jpg is too large: its bytes are more than the limit/],
  ['/cut.jpg', /cut\.jpg could not be fetched \(.*\)\. Try again\.$/],
  ['/busy.jpg', /busy\.jpg could not be fetched \(the server answered 503\)\. Try again\.$/],
  ['/page.jpg?token=secret', /^The image http:\/\/127\.0\.0\.1:\d+\/page\.jpg is /],
];
for (const [path, message] of failures)
  test(`${path} ends with a sentence`, async () => {
    const error = await blip.embedImage(url(path)).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof UserError, String(error));
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /secret/);
  });

test('a server that is silent is given up after `fetchTimeout`, or when the call is aborted', async () => {
  const hasty = await Retriever.open(checkpoint, { device: deviceOfRank(0), fetchTimeout: 50 });
  const sentence =
    /^UserError: The image .*silent\.jpg did not come within 0\.05 s\. Try again, or raise `fetchTimeout`\.$/;
  await assert.rejects(hasty.embedImage(url('/silent.jpg')), sentence);
  await hasty.close();
  const stop = new AbortController();
  const call = blip.embedImage(url('/silent.jpg'), { signal: stop.signal });
  setTimeout(() => stop.abort(), 20);
  await assert.rejects(call, { name: 'AbortError' });
});

test('close ends what is being fetched', async () => {
  const short = await Retriever.open(checkpoint, { device: deviceOfRank(0) });
  const call = assert.rejects(short.embedImage(url('/silent.jpg')), /^UserError: The retriever was closed/);
  await short.close();
  await call;
});

test('a file URL of another host is refused', async () => {
  await assert.rejects(
    blip.embedImage(new URL('file://elsewhere/cat.jpg')),
    /^UserError: file:\/\/elsewhere\/cat\.jpg is no path/,
  );
});
