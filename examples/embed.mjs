// Encodes images and captions into one space, and prints the nearest caption of each of the first images of the test split.
// Usage: node examples/embed.mjs CONFIG [key=value]…        for example, after `npm run demo`: configs/demo.yaml
import * as blip from 'blip-retrieval/core';

const [path, ...overrides] = process.argv.slice(2);
const config = blip.loadConfig(path, overrides);
const architecture = blip.architectureOf(config);
const tokenizer = blip.Tokenizer.load();
const { images, texts } = await blip.loadRetrievalSplit({ ...config, split: 'test' });
const { path: file } = await blip.fetchPretrained(config.pretrained);
const { state } = await blip.loadPretrained(file, architecture);
const model = new blip.BlipRetrieval(state, architecture, { device: 'cpu' });

// Features are unit vectors: (captions, 256).
const textFeatures = model.embedTexts(texts.map((text) => tokenizer.encode(text).ids));

// Workers decode and resize; a batch is (count, size, size, 3) bytes until it is released.
const size = architecture.vision.imageSize;
const pass = blip.imageSource({ images }, { size, batchSize: 8 }).open(Int32Array.of(0, 1, 2, 3, 4));
for (let batch = pass.next(), image = 0; batch !== null; batch = pass.next()) {
  const { data, count } = batch;
  const nearest = blip.scope(() => {
    const pixels = blip.ops.fromBytes(data, 'uint8', [count, size, size, 3]);
    const { features } = model.encodeImages(blip.normalizeImages(pixels, model.device)); // (count, 256)
    const similarities = blip.ops.matmul(features, blip.ops.transpose(textFeatures, 0, 1)); // (count, captions)
    return blip.ops.topk(similarities, 1)[1].integers();
  });
  batch.release();
  for (const caption of nearest) console.log(`${images[image++]}: ${texts[caption]}`);
}
await pass.close();
textFeatures.dispose();
model.dispose();
