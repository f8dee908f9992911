/**
 * Objects that the store had in an archive class when an eviction asked for them: their files
 * stay on the disk, since each could be read back only after hours.
 *
 * @module
 */

import type { ObjectKey } from "../core/names.ts";

/** It is not asked again before: passes of eviction follow each other in seconds. */
const ASKED_AGAIN_MS = 3_600_000;

/** One that was forgotten is asked for again, and counted again. */
const REMEMBERED_MAX = 100_000;

export class ArchivedObjects {
  readonly #seenAtMs = new Map<ObjectKey, number>();
  #toldAtMs = -Infinity;

  /** True for one that is new. */
  note(key: ObjectKey, nowMs: number): boolean {
    const isNew = !this.#seenAtMs.delete(key);
    this.#seenAtMs.set(key, nowMs);
    if (this.#seenAtMs.size > REMEMBERED_MAX) {
      const [oldest] = this.#seenAtMs.keys();
      this.#seenAtMs.delete(oldest!);
    }
    return isNew;
  }

  forget(key: ObjectKey): void {
    this.#seenAtMs.delete(key);
  }

  /** Whether it was archived a short time ago. */
  has(key: ObjectKey, nowMs: number): boolean {
    const seenAtMs = this.#seenAtMs.get(key);
    return seenAtMs !== undefined && nowMs - seenAtMs < ASKED_AGAIN_MS;
  }

  /** True once an hour: a rule of a bucket archives many at a time. */
  mayTell(nowMs: number): boolean {
    if (nowMs - this.#toldAtMs < ASKED_AGAIN_MS) return false;
    this.#toldAtMs = nowMs;
    return true;
  }
}
