/**
 * How long the wall clock has been going evenly: neither a step of it nor a wrong clock that is
 * corrected may make anything look older than it is.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";

/** A smaller step, or a sum of them, makes no difference to a grace. */
const STEP_MS_MAX = 60_000;

export interface SteadyTime {
  /** Since the clock was last set forth, or since the start. */
  readonly steadyMs: number;
  /** The wall clock, read at the same moment. */
  readonly nowMs: number;
  /** By how much the clock has just turned out to have been set forth; null: it was not. */
  readonly stepMs: number | null;
}

/**
 * Compares the wall clock with the monotonic one, which nobody sets and which stands still while
 * the machine sleeps. The clock's own drift is in both.
 */
export class SteadyTimeWatch {
  readonly #clock: Clock;
  #sinceMs: number;
  /** The least that the wall clock was ahead since then: after a step back, one forth counts. */
  #aheadMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
    this.#aheadMs = clock.nowMs() - this.#sinceMs;
  }

  look(): SteadyTime {
    const monotonicMs = this.#clock.monotonicMs();
    const nowMs = this.#clock.nowMs();
    const aheadMs = nowMs - monotonicMs;
    const stepMs = aheadMs - this.#aheadMs;
    const isStep = stepMs > STEP_MS_MAX;
    if (isStep) this.#sinceMs = monotonicMs;
    this.#aheadMs = isStep ? aheadMs : Math.min(aheadMs, this.#aheadMs);
    return {
      steadyMs: monotonicMs - this.#sinceMs,
      nowMs,
      stepMs: isStep ? stepMs : null,
    };
  }
}
