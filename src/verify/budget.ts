/**
 * What a run may cost: bytes recalled from the store, and bytes a second from anywhere.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { hashOf } from "./key_set.ts";

/** Counts recalled bytes against a limit that is never passed. */
export class RecallBudget {
  readonly #bytesMax: number;
  #usedBytes: number;
  /** A recall was refused that a fresh budget would have allowed. */
  isExhausted = false;

  constructor(bytesMax: number, usedBytes = 0) {
    this.#bytesMax = bytesMax;
    this.#usedBytes = usedBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes `sizeBytes` from the budget, or refuses and takes nothing. */
  take(sizeBytes: number): boolean {
    if (this.#usedBytes + sizeBytes > this.#bytesMax) {
      this.isExhausted ||= sizeBytes <= this.#bytesMax;
      return false;
    }
    this.#usedBytes += sizeBytes;
    return true;
  }
}

/** Spreads reads over time: callers wait until their bytes are due. */
export class Throttle {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  #dueMs = 0;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  async spend(bytes: number): Promise<void> {
    if (this.#bytesPerSecond === Infinity) return;
    const nowMs = this.#clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + bytes / this.#bytesPerSecond * 1000;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs > 10) await this.#clock.sleep(waitMs);
  }
}

/** What was asked for: a part by its number, or (`part` null) any one, another each time. */
export interface Sampling {
  readonly part: number | null;
  readonly of: number;
}

/**
 * The part that is read. A sample follows from the time of the records: the next checkpoint
 * has another one, and a second run over the same records has the same.
 */
export function chooseSelection(sampling: Sampling, asOfS: number): Selection {
  const { part, of } = sampling;
  return { part: part ?? mixed(hashOf(String(asOfS))) % of, of };
}

/** Which archives are read at all at a depth that reads. */
export interface Selection {
  /** One in `of` is read: those whose number, 0 to `of` - 1, is `part`. */
  readonly part: number;
  readonly of: number;
}

/**
 * Whether the archive `key` is in the selection. By its name alone, so that a part is the
 * same set in every run, and all parts together are everything.
 */
export function isSelected(key: string, selection: Selection): boolean {
  if (selection.of === 1) return true;
  return mixed(hashOf(key)) % selection.of === selection.part;
}

/** The low bits of FNV are weak on their own: folds the high ones in. */
function mixed(hash: number): number {
  const folded = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (folded ^ (folded >>> 12)) >>> 0;
}
