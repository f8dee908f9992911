/**
 * Files whose eviction failed, so that neither a store that is out is asked for each of
 * millions, nor one file that cannot go keeps the others.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 60_000;

/** Beyond it the longest known are forgotten: they are the oldest, and asked for again. */
const KNOWN_MAX = 4_096;

interface Failure {
  readonly dueMs: number;
  readonly delayMs: number;
}

export class EvictFailures {
  readonly #known = new Map<DepotPath, Failure>();

  /** Its eviction has failed, once more or for the first time. */
  note(path: DepotPath, nowMs: number): void {
    const before = this.#known.get(path);
    const delayMs = before === undefined
      ? RETRY_MS_MIN
      : Math.min(RETRY_MS_MAX, before.delayMs * 2);
    this.#known.set(path, { dueMs: nowMs + delayMs, delayMs });
    if (this.#known.size > KNOWN_MAX) {
      this.#known.delete(this.#known.keys().next().value!);
    }
  }

  isKnown(path: DepotPath): boolean {
    return this.#known.has(path);
  }

  isDue(path: DepotPath, nowMs: number): boolean {
    return (this.#known.get(path)?.dueMs ?? -Infinity) <= nowMs;
  }

  /** One that had failed was answered: so may all be. */
  clear(): void {
    this.#known.clear();
  }
}
