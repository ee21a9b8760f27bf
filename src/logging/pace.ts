// How fast a loop goes between two lines of its log: seconds in steps, seconds of them spent waiting for data, images.

/** What a loop did since its log was last asked. */
export interface PaceSince {
  /** Seconds that a step waited for its data, the mean. */
  dataWait: number;
  /** Images that went through in a second of steps, waits included. What happens between steps (a save) does not count. */
  imagesPerSecond: number;
}

/** Call `begin` at a step's start, `dataReady` when its input is there, `end` when it is done. */
export class Pace {
  readonly #now: () => number;
  #begun: number | undefined;
  #seconds = 0;
  #waited = 0;
  #images = 0;
  #steps = 0;

  /** @param now seconds of a clock that does not jump */
  constructor(now: () => number = () => performance.now() / 1000) {
    this.#now = now;
  }

  begin(): void {
    this.#begun = this.#now();
  }

  /** @param images those of this step, on all ranks */
  dataReady(images: number): void {
    this.#waited += this.#now() - (this.#begun ?? this.#now());
    this.#images += images;
    this.#steps += 1;
  }

  end(): void {
    if (this.#begun !== undefined) this.#seconds += this.#now() - this.#begun;
    this.#begun = undefined;
  }

  /** What was done since the last call, the step that is running included as far as it is. */
  take(): PaceSince {
    const running = this.#begun;
    if (running !== undefined) {
      this.end();
      this.#begun = this.#now();
    }
    const pace = {
      dataWait: this.#waited / Math.max(1, this.#steps),
      imagesPerSecond: this.#seconds > 0 ? this.#images / this.#seconds : 0,
    };
    this.#seconds = this.#waited = this.#images = this.#steps = 0;
    return pace;
  }
}
