// How well an image fits some texts, best first: what BLIP's ITM head says of each pair, and the similarity of their features.
// Usage: node examples/retriever.mjs CHECKPOINT IMAGE TEXT…        for example: coco-base cat.jpg 'a cat asleep' 'two dogs'
import { Retriever } from 'blip-retrieval';

const [checkpoint, image, ...texts] = process.argv.slice(2);
const blip = await Retriever.open(checkpoint); // a short name, a file, a folder, hf:OWNER/NAME or a URL
const matches = await blip.match(image, texts);
const ranked = texts.map((text, i) => ({ text, ...matches[i] })).sort((a, b) => b.score - a.score);
for (const { text, probability, similarity } of ranked)
  console.log(`${(100 * probability).toFixed(1)} %  ${similarity.toFixed(3)}  ${text}`);
await blip.close();
