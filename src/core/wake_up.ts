/**
 * A wake-up that is never lost: a loop waits for it or for a deadline, whichever is first.
 *
 * @module
 */

import type { Clock } from "./clock.ts";

export class WakeUp {
  readonly #clock: Clock;
  #isSet = false;
  #waiter: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the wait that is under way, or the next one at once. */
  wake(): void {
    this.#isSet = true;
    this.#waiter?.();
  }

  /** Resolves on {@linkcode wake}, after `delayMs`, or when `signal` aborts. One waiter. */
  async wait(delayMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isSet && !signal.aborted) {
      const woken = Promise.withResolvers<void>();
      this.#waiter = woken.resolve;
      const timer = new AbortController();
      const both = AbortSignal.any([signal, timer.signal]);
      // The sleep's rejection is the abort that ends it: an answer here, not a failure.
      const slept = this.#clock.sleep(delayMs, both).catch(() => {});
      await Promise.race([woken.promise, slept]);
      timer.abort();
      this.#waiter = null;
    }
    this.#isSet = false;
  }
}
