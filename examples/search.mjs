// Searches a folder of pictures by what a text says: the README's program.
// Usage: node examples/search.mjs FOLDER TEXT [CHECKPOINT]        for example: photos 'a dog in snow'
import { Retriever } from 'blip-retrieval';

const [folder, text, checkpoint = 'coco-base'] = process.argv.slice(2);
const blip = await Retriever.open(checkpoint);
const index = await blip.createIndex(folder, { onBadImage: 'skip' }); // the second time: only what is new
for (const { path, similarity } of await index.search(text, { top: 5 })) console.log(similarity.toFixed(3), path);
await blip.close();
