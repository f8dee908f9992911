/**
 * A bound on what runs at the same time, first come first served.
 *
 * @module
 */

import { assert } from "./assert.ts";

export class Places {
  #freeCount: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    assert(Number.isInteger(count) && count > 0, "a bound must be positive");
    this.#freeCount = count;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#freeCount > 0) this.#freeCount -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // A waiter gets the place itself: a newcomer may not slip in before it.
      if (next !== undefined) next();
      else this.#freeCount += 1;
    }
  }
}
