/**
 * Work that holds the event loop for a good part of a millisecond, one piece a turn: whatever is
 * quick waits behind one of them, and not behind all that became ready together.
 *
 * @module
 */

import { setImmediate } from "node:timers";

export class HeavyTurns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;

  /** Runs `work` in a turn in which no other runs here: in this one, if none has yet. */
  async run<T>(work: () => T): Promise<T> {
    if (this.#isTaken) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#isTaken = true;
    setImmediate(() => this.#pass());
    return work();
  }

  #pass(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isTaken = false;
    else next();
  }
}
