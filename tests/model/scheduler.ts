/**
 * Decides who goes on next. Everything in a simulation that waits for the outside world
 * waits here, under the name of what it is, until the scheduler lets it go on; between two
 * such steps all code that can run has run.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import type { Clock } from "../../src/core/clock.ts";
import type { Random } from "../verify/random.ts";

interface Waiting {
  readonly life: object;
  readonly label: string;
  readonly go: () => void;
}

interface Sleeper extends Waiting {
  readonly atMs: number;
}

/** 2026-03-01T10:00:00Z */
const START_MS = 1_772_359_200_000;

export class Scheduler {
  #waiting: Waiting[] = [];
  #sleepers: Sleeper[] = [];
  #nowMs = START_MS;
  readonly #dropped = new WeakSet<object>();

  get nowMs(): number {
    return this.#nowMs;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  get sleeperCount(): number {
    return this.#sleepers.length;
  }

  /** Resolves when the scheduler picks it. `life`: who waits; its end drops the wait. */
  pause(life: object, label: string): Promise<void> {
    if (this.#dropped.has(life)) return new Promise(() => {});
    return new Promise((go) => this.#waiting.push({ life, label, go }));
  }

  clockOf(life: object): Clock {
    return {
      nowMs: () => this.#nowMs,
      monotonicMs: () => this.#nowMs,
      sleep: (delayMs, signal) =>
        new Promise((go, reject) => {
          if (this.#dropped.has(life)) return;
          if (signal?.aborted) return reject(signal.reason);
          const atMs = this.#nowMs + delayMs;
          this.#sleepers.push({ life, label: "sleep", go, atMs });
          signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
        }),
    };
  }

  /** Lets one go on, and waits until all that follows from it waits again. */
  async step(random: Random): Promise<string> {
    const [next] = this.#waiting.splice(random.int(this.#waiting.length), 1);
    next!.go();
    await settled();
    return next!.label;
  }

  /** Time passes; who slept until then goes on, one after another. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#sleepers.filter(({ atMs }) => atMs <= untilMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.go();
      await settled();
    }
    this.#nowMs = untilMs;
  }

  /** When the next sleeper wakes, from now; null if nobody sleeps. */
  nextWakeInMs(): number | null {
    if (this.#sleepers.length === 0) return null;
    const atMs = Math.min(...this.#sleepers.map((sleeper) => sleeper.atMs));
    return Math.max(0, atMs - this.#nowMs);
  }

  /** Nothing of that life ever goes on. */
  drop(life: object): void {
    this.#dropped.add(life);
    this.#waiting = this.#waiting.filter((waiting) => waiting.life !== life);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.life !== life);
  }
}

/**
 * All microtasks have run, and the turn that the manifest's group commit takes: an
 * immediate comes after those that were asked for before it.
 */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}
