/**
 * What a run may cost: bytes recalled from the store, and bytes a second from anywhere.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";

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
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  }
  // The low bits of FNV are weak on their own: fold the high ones in.
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  hash ^= hash >>> 12;
  return (hash >>> 0) % selection.of === selection.part;
}
