// The checkpoints that the authors of BLIP published and that this program can use, by short names.
import { nearestName } from '../config/nearest.js';

export interface PublishedModel {
  /** What a user types in the place of a file. */
  name: string;
  /** A URL or `hf:OWNER/NAME`: what `fetchPretrained` takes. */
  source: string;
  what: string;
  vit: 'base' | 'large';
  /** Pixels of an edge that it was trained with. */
  imageSize: 224 | 384;
  /** Bytes of the file, to two digits: what the shapes of its tensors add up to. */
  aboutBytes: number;
}

/** Where the README of salesforce/BLIP has its checkpoints. */
const BUCKET = 'https://storage.googleapis.com/sfr-vision-language-research/BLIP/models';

const GB = 1e9;

/**
 * Files of the bucket hold momentum copies, and queues of 57,600: training goes on from them. Those of Hugging Face hold
 * what evaluation needs. The pretrained ones hold a captioner too, which retrieval leaves aside.
 */
export const PUBLISHED_MODELS: readonly PublishedModel[] = [
  ...retrieval('coco', 'COCO'),
  ...retrieval('flickr', 'Flickr30k'),
  pretrained('base-14m', 'model_base_14M', 'base', 'pretrained on 14M images'),
  pretrained('base-129m', 'model_base', 'base', 'pretrained on 129M images'),
  pretrained('base-129m-capfilt', 'model_base_capfilt_large', 'base', "129M, captions by ViT-L's CapFilt"),
  pretrained('large-129m', 'model_large', 'large', 'pretrained on 129M images'),
];

/** The published checkpoint of that short name. */
export function publishedModel(name: string): PublishedModel | undefined {
  return PUBLISHED_MODELS.find((model) => model.name === name);
}

/** The short name that `name` misspells; undefined where none is near. */
export function nearestModel(name: string): string | undefined {
  return nearestName(
    name,
    PUBLISHED_MODELS.map((model) => model.name),
  );
}

function retrieval(dataset: string, what: string): PublishedModel[] {
  return (['base', 'large'] as const).flatMap((vit) => {
    const shared = { vit, imageSize: 384 } as const;
    const whole = `${BUCKET}/model_${vit}_retrieval_${dataset}.pth`;
    const [name, twin] = [`${dataset}-${vit}`, `hf:Salesforce/blip-itm-${vit}-${dataset}`];
    return [
      {
        name,
        source: whole,
        what: `fine-tuned on ${what}`,
        aboutBytes: vit === 'base' ? 1.9 * GB : 3.7 * GB,
        ...shared,
      },
      {
        name: `${name}-hf`,
        source: twin,
        what: 'the same, of Hugging Face',
        aboutBytes: vit === 'base' ? 0.9 * GB : 1.8 * GB,
        ...shared,
      },
    ];
  });
}

function pretrained(name: string, file: string, vit: 'base' | 'large', what: string): PublishedModel {
  const aboutBytes = vit === 'base' ? 2.0 * GB : 3.8 * GB;
  return { name, source: `${BUCKET}/${file}.pth`, what, vit, imageSize: 224, aboutBytes };
}
