/**
 * How many bytes a second may go up and down, by the hour of the week.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";

/** Bytes a second; null is no limit. */
export interface BandwidthLimits {
  readonly uploadBytesPerSecond: number | null;
  readonly downloadBytesPerSecond: number | null;
}

/** Limits for part of a day. */
export interface BandwidthWindow extends BandwidthLimits {
  /** Days on which it begins, 0 for Sunday to 6; null: every day. */
  readonly days: readonly number[] | null;
  /** Minute of the local day, 0 to 1439, the first one in the window. */
  readonly fromMinute: number;
  /** The first one after it, to 1440. Before `fromMinute`: the window goes past midnight. */
  readonly toMinute: number;
}

export interface BandwidthSchedule {
  /** The first one that the minute lies in counts. */
  readonly windows: readonly BandwidthWindow[];
  readonly otherwise: BandwidthLimits;
}

/** A moment of the local week. */
export interface WeekMinute {
  /** 0 for Sunday to 6. */
  readonly day: number;
  /** 0 to 1439. */
  readonly minute: number;
}

/** What the machine's own clock and time zone show at `nowMs`. */
export function weekMinuteOf(nowMs: number): WeekMinute {
  const local = new Date(nowMs);
  return { day: local.getDay(), minute: local.getHours() * 60 + local.getMinutes() };
}

/** The limits at a moment of the local week. */
export function planBandwidth(
  schedule: BandwidthSchedule,
  moment: WeekMinute,
): BandwidthLimits {
  return schedule.windows.find((window) => isWithin(window, moment)) ??
    schedule.otherwise;
}

function isWithin(window: BandwidthWindow, { day, minute }: WeekMinute): boolean {
  const { days, fromMinute, toMinute } = window;
  const beginsOn = (begin: number): boolean => days === null || days.includes(begin);
  if (fromMinute <= toMinute) {
    return beginsOn(day) && minute >= fromMinute && minute < toMinute;
  }
  return (beginsOn(day) && minute >= fromMinute) ||
    (beginsOn((day + 6) % 7) && minute < toMinute);
}

/**
 * A bucket that fills at a rate which may change at any time. It may be overdrawn, by
 * whoever takes from it while it is not empty, so that a chunk larger than it passes too;
 * the next one waits for the debt.
 */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #bytesPerSecond: () => number | null;
  #levelBytes = 0;
  #filledAtMs: number;
  #turn: Promise<void> = Promise.resolve();

  constructor(clock: Clock, bytesPerSecond: () => number | null) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#filledAtMs = clock.monotonicMs();
  }

  /** Resolves when `bytes` may pass; in the order of the calls. */
  take(bytes: number, signal?: AbortSignal): Promise<void> {
    const mine = this.#turn.then(() => this.#take(bytes, signal));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #take(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const rate = this.#bytesPerSecond();
      if (rate === null) {
        this.#levelBytes = 0;
        this.#filledAtMs = this.#clock.monotonicMs();
        return;
      }
      this.#fill(rate);
      if (this.#levelBytes >= 0) {
        this.#levelBytes -= bytes;
        return;
      }
      // At most a second, to see a new rate soon.
      const waitMs = Math.min(1_000, Math.ceil(-this.#levelBytes * 1_000 / rate));
      await this.#clock.sleep(Math.max(1, waitMs), signal);
    }
  }

  #fill(rate: number): void {
    const nowMs = this.#clock.monotonicMs();
    const gained = (nowMs - this.#filledAtMs) * rate / 1_000;
    // A tenth of a second is saved up: enough for timers, too little for a burst.
    this.#levelBytes = Math.min(rate / 10, this.#levelBytes + gained);
    this.#filledAtMs = nowMs;
  }
}
