/**
 * A clock that never waits: a sleep moves it on and resolves in a later turn.
 *
 * @module
 */

import type { Clock } from "../../src/core/clock.ts";

export class FakeClock implements Clock {
  #nowMs = 1_700_000_000_000;
  readonly slept: number[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  async sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.slept.push(delayMs);
    this.#nowMs += delayMs;
    await Promise.resolve();
    signal?.throwIfAborted();
  }
}
