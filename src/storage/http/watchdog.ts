/**
 * Ends a request that makes no progress.
 *
 * A timeout for a whole object is either too short for a large one or too long for a dead
 * peer, so time is counted from the last progress, and only while something is waited for.
 * One timer a period, not one a chunk.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";

/** No byte came, or no answer, for as long as was allowed. */
export class StalledError extends Error {
  override readonly name = "StalledError";
}

export class Watchdog {
  readonly #abort = new AbortController();
  readonly #ended = new AbortController();
  readonly #clock: Clock;
  readonly #stallMs: number;
  /** Infinity while it rests. */
  #deadlineMs: number;
  #isWatching = false;

  /** @param firstMs Allowed until the first {@linkcode touch}; default `stallMs`. */
  constructor(clock: Clock, stallMs: number, firstMs: number = stallMs) {
    this.#clock = clock;
    this.#stallMs = stallMs;
    this.#deadlineMs = clock.monotonicMs() + firstMs;
    this.#watch();
  }

  /** Aborts with a {@linkcode StalledError}. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** There was progress, or a wait begins. */
  touch(): void {
    this.#deadlineMs = this.#clock.monotonicMs() + this.#stallMs;
    if (!this.#isWatching) this.#watch();
  }

  /** Nothing is waited for until the next {@linkcode touch}. */
  rest(): void {
    this.#deadlineMs = Infinity;
  }

  /** Ends the watch; nothing is aborted any more. */
  end(): void {
    this.#ended.abort();
  }

  async #watch(): Promise<void> {
    this.#isWatching = true;
    for (;;) {
      if (this.#deadlineMs === Infinity) {
        this.#isWatching = false;
        return;
      }
      const leftMs = this.#deadlineMs - this.#clock.monotonicMs();
      if (leftMs <= 0) break;
      try {
        await this.#clock.sleep(leftMs, this.#ended.signal);
      } catch {
        return; // ended
      }
    }
    const seconds = Math.round(this.#stallMs / 1_000);
    this.#abort.abort(new StalledError(`no progress for ${seconds} s`));
  }
}
