/**
 * Keys whose removal may still be under way: a DELETE of theirs went unanswered.
 *
 * A service, or a proxy in front of it, may carry such a request out long after we gave it up, also
 * after the next one was answered, and not each of them knows a condition that would spare what has
 * the key by then. So for an hour nothing takes the key into use: neither an undelete nor an upload,
 * and its tombstone stays, by which nothing adopts its object either. Only then is the store asked
 * again whether the object is gone.
 *
 * Only this process knows them: what one before it has asked for is forgotten at a start.
 *
 * @module
 */

import type { ObjectKey } from "../core/names.ts";

/** As long as is waited for an upload whose end a process before may have asked for. */
export const DOUBT_MS = 3_600_000;

/** All times are of the monotonic clock. */
export class DoubtfulKeys {
  /** When the last of its requests was given up, the oldest first. */
  readonly #sinceMs = new Map<ObjectKey, number>();

  /** A DELETE of `key` was given up just now. */
  note(key: ObjectKey, nowMs: number): void {
    for (const [old, sinceMs] of this.#sinceMs) {
      if (nowMs - sinceMs < DOUBT_MS) break;
      this.#sinceMs.delete(old);
    }
    this.#sinceMs.delete(key);
    this.#sinceMs.set(key, nowMs);
  }

  /** How long the key stays doubtful; 0: it is not. */
  remainingMs(key: ObjectKey, nowMs: number): number {
    const sinceMs = this.#sinceMs.get(key);
    return sinceMs === undefined ? 0 : Math.max(0, sinceMs + DOUBT_MS - nowMs);
  }

  has(key: ObjectKey, nowMs: number): boolean {
    return this.remainingMs(key, nowMs) > 0;
  }
}
