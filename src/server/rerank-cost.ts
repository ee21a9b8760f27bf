// What re-ranking costs here: measured when the server starts and at every search, and said by the page.
import type { Service } from './service.js';

export class RerankCost {
  #perImage: number | undefined; // ms

  /** Milliseconds an image, a moving average; null before the first. */
  get ms(): number | null {
    return this.#perImage === undefined ? null : Math.round(this.#perImage * 10) / 10;
  }

  /** A search that re-ranked `images` took `ms` in all. One that waited for others counts as it was. */
  saw(images: number, ms: number): void {
    if (images === 0) return;
    const each = ms / images;
    this.#perImage = this.#perImage === undefined ? each : this.#perImage + 0.2 * (each - this.#perImage);
  }

  /** Two searches: the first warms up what the second measures, and everybody's first is as fast as later ones. */
  async measure({ index }: Service, signal: AbortSignal): Promise<void> {
    for (const isMeasured of [false, true]) {
      const start = performance.now();
      const hits = await index.search({ text: 'a photo' }, { top: 2, rerank: 2, signal });
      const images = hits.filter(({ probability }) => probability !== undefined).length;
      if (isMeasured && this.#perImage === undefined) this.saw(images, performance.now() - start);
    }
  }
}
