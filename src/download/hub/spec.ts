// `hf:OWNER/NAME[@REVISION]`: a model of Hugging Face's hub.
import { printable, UserError } from '../../errors.js';

export interface HubModel {
  owner: string;
  name: string;
  /** A branch, a tag or a commit. */
  revision: string;
}

/** @throws UserError with the form that is expected */
export function parseHubSpec(text: string): HubModel {
  const [, owner = '', name = '', revision = 'main'] = /^hf:([^/@]+)\/([^/@]+)(?:@(.+))?$/i.exec(text) ?? [];
  if (!isName(owner) || !isName(name) || name.endsWith('.git') || !isRevision(revision)) {
    throw new UserError(
      `${printable(text)} names no model of Hugging Face. Write hf:OWNER/NAME or hf:OWNER/NAME@REVISION, as in hf:Salesforce/blip-itm-base-coco.`,
      { exitCode: 2 },
    );
  }
  return { owner, name, revision };
}

/** `OWNER/NAME` */
export function repoOf({ owner, name }: HubModel): string {
  return `${owner}/${name}`;
}

/** As huggingface_hub's validate_repo_id; the cache joins owner and name by `--`. */
function isName(text: string): boolean {
  return /^\w(?:[\w.-]{0,94}\w)?$/.test(text) && !/--|\.\./.test(text);
}

/** A path below `refs`, which may have slashes (`refs/pr/1`) but leads nowhere else. */
function isRevision(text: string): boolean {
  return text.split('/').every((part) => /^[\w.+-]+$/.test(part) && !/^\.|\.\./.test(part));
}
