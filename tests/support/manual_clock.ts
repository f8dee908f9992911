/**
 * A clock that moves when the test says so; sleepers wake in the order of their time.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import type { Clock } from "../../src/core/clock.ts";

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

export class ManualClock implements Clock {
  #nowMs: number;
  #sleepers: Sleeper[] = [];

  constructor(start = "2026-03-01T10:00:00.000Z") {
    this.#nowMs = Date.parse(start);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal?.aborted) return Promise.reject(signal.reason);
    this.#sleepers.push({ atMs: this.#nowMs + delayMs, wake: resolve });
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    return promise;
  }

  /** Lets everything that is due run, up to the next time that it waits. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settled();
    for (let next = this.#takeDue(untilMs); next; next = this.#takeDue(untilMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.wake();
      await settled();
    }
    this.#nowMs = untilMs;
  }

  #takeDue(untilMs: number): Sleeper | undefined {
    this.#sleepers.sort((a, b) => a.atMs - b.atMs);
    return this.#sleepers[0] && this.#sleepers[0].atMs <= untilMs
      ? this.#sleepers.shift()
      : undefined;
  }
}

/**
 * All microtasks that are waiting have run, and the turn that the manifest's group commit
 * takes: an immediate comes after those that were asked for before it.
 */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}
