// What the hub says of a file: its digest, its size, the commit it is of; or a sentence that says why it does not.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, printable, UserError } from '../../errors.js';
import type { DownloadOptions } from '../download.js';
import { TransientError } from '../failures.js';
import { ask, type Dispatcher, type HttpAnswer, passingRefusal } from '../http.js';
import { parseUrl, shownUrl } from '../url.js';
import { type HubToken, hubEndpoint, hubToken } from './environment.js';
import { type HubModel, repoOf } from './spec.js';

export interface RemoteFile {
  name: string;
  /** Where its content is, of this very commit. */
  url: string;
  /** The ETag: the SHA-256 of a large file, git's SHA-1 of a small one. */
  digest: string;
  commit: string;
  /** Bytes, where the hub tells. */
  size: number | undefined;
}

export class HubClient {
  readonly #endpoint: string;
  readonly #token: HubToken | undefined;

  constructor(
    readonly model: HubModel,
    readonly dispatcher: Dispatcher,
    readonly options: DownloadOptions,
    env: NodeJS.ProcessEnv,
  ) {
    this.#endpoint = hubEndpoint(env);
    this.#token = hubToken(env);
  }

  /** The header that goes to the hub, and to no other host. */
  get authorization(): string | undefined {
    return this.#token === undefined ? undefined : `Bearer ${this.#token.value}`;
  }

  /** The file `name` of a revision; undefined where that has none. @throws UserError */
  async find(name: string, revision: string): Promise<RemoteFile | undefined> {
    const answer = await this.#head(parseUrl(this.#address(name, revision)));
    const { status } = answer;
    if (status === 404 && isAbsence(answer)) return undefined;
    if (status >= 400) throw this.#refusal(answer, revision);
    const commit = answer.header('x-repo-commit');
    const etag = answer.header('x-linked-etag') ?? answer.header('etag');
    const digest = etag?.replace(/^W\//, '').replace(/^"|"$/g, '') ?? '';
    if (commit === undefined || !/^[0-9a-f]{40}$/.test(commit) || !/^[\w-][\w.-]{7,127}$/.test(digest)) {
      throw new UserError(
        `${this.#host} does not answer as a hub of Hugging Face does: ${name} has no commit and digest. Check HF_ENDPOINT, and whether a proxy or a login page is in between.`,
      );
    }
    const isRedirect = status >= 300;
    const length = answer.header('x-linked-size') ?? (isRedirect ? undefined : answer.header('content-length'));
    const size = length === undefined ? undefined : Number(length);
    return { name, url: this.#address(name, commit), digest, commit, size };
  }

  get #host(): string {
    return shownUrl(this.#endpoint)
      .replace(/^https?:\/\//, '')
      .replace(/\/$/, '');
  }

  #address(name: string, revision: string): string {
    return `${this.#endpoint}/${repoOf(this.model)}/resolve/${encodeURIComponent(revision)}/${name}`;
  }

  /** Renamed models are followed; where a file's digest is told, its content may be anywhere. */
  async #head(url: URL): Promise<HttpAnswer> {
    const { retries = 5, backoffMs = 500, signal } = this.options;
    const { dispatcher, authorization } = this;
    const stopAt = (answer: HttpAnswer, next: URL | undefined) =>
      answer.header('x-linked-etag') !== undefined || next?.origin !== url.origin;
    for (let failures = 0; ; failures++) {
      try {
        const { answer } = await ask(url, { dispatcher, method: 'HEAD', authorization, signal, stopAt });
        answer.discard();
        const passing = passingRefusal(answer);
        if (passing !== undefined) throw passing;
        return answer;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof TransientError)) throw error;
        if (failures === retries) throw this.#givenUp(error, failures + 1);
        await sleep(error.waitMs ?? Math.min(backoffMs * 2 ** failures, 30_000), undefined, { signal });
      }
    }
  }

  #givenUp(error: TransientError, attempts: number): UserError {
    const tooMany = / 429$/.test(error.message) && this.#token === undefined;
    const remedy = tooMany
      ? 'Wait some minutes, or set HF_TOKEN: the hub limits requests without a token more.'
      : 'Try again later.';
    return new UserError(
      `${this.#host} could not be asked for ${repoOf(this.model)}: ${attempts === 1 ? 'the attempt' : `${attempts} attempts in a row`} failed (${messageOf(error)}). ${remedy}`,
      { cause: error },
    );
  }

  #refusal(answer: HttpAnswer, revision: string): UserError {
    const [repo, page] = [repoOf(this.model), `${shownUrl(this.#endpoint).replace(/\/$/, '')}/${repoOf(this.model)}`];
    const { status } = answer;
    const code = answer.header('x-error-code') ?? '';
    const token = this.#token === undefined ? undefined : `the token of ${this.#token.from}`;
    if (code === 'GatedRepo') {
      const remedy =
        token === undefined ? 'then set HF_TOKEN to a token of your account' : `with the account of ${token}`;
      return new UserError(`${repo} is gated: its owners grant access. Ask for it at ${page}, ${remedy}.`);
    }
    if (code === 'RevisionNotFound')
      return new UserError(
        `${repo} on ${this.#host} has no revision ${revision}. Give a branch, tag or commit that is listed at ${page}, or leave @${revision} out.`,
      );
    if (code === 'RepoNotFound' || status === 404) {
      const remedy = token === undefined ? 'set HF_TOKEN if it is private' : `see that ${token} may read it`;
      return new UserError(
        `There is no model ${repo} on ${this.#host}, or it is private. Check the name, and ${remedy}.`,
      );
    }
    if (status === 401 || status === 403) {
      const said = printable(answer.header('x-error-message') ?? '', 120).replace(/\.$/, '');
      const remedy =
        token === undefined ? 'Set HF_TOKEN to a token that may read it' : `See that ${token} is valid and may read it`;
      return new UserError(
        `${this.#host} denies access to ${repo} (${status}${said === '' ? '' : `: ${said}`}). ${remedy}.`,
      );
    }
    return new UserError(`${this.#host} answered ${status} for ${repo}. Check HF_ENDPOINT.`);
  }
}

/** Whether a 404 means the file, not the model or the revision. */
function isAbsence(answer: HttpAnswer): boolean {
  const code = answer.header('x-error-code');
  return code === 'EntryNotFound' || (code === undefined && answer.header('x-repo-commit') !== undefined);
}
