/**
 * Rows that were changed or listed lately, as they are committed, so that the next change of
 * one need not read, check and decode it again: a file is written, its upload starts and
 * ends; what is evicted was listed just before. Only the composing of groups asks here,
 * and it has no commit under way; all answers to others are read from the store.
 *
 * Whoever learns that a commit failed forgets everything: what is on the disk counts.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { KnownRow } from "./row.ts";

/** Twice as many are kept at most, of about a kilobyte each. */
const ROWS_PER_HALF = 1_024;

export class RecentRows {
  #newer = new Map<DepotPath, KnownRow>();
  #older = new Map<DepotPath, KnownRow>();

  get(path: DepotPath): KnownRow | null {
    return this.#newer.get(path) ?? this.#older.get(path) ?? null;
  }

  /** The row that is committed under `path`; null: there is none. */
  set(path: DepotPath, known: KnownRow | null): void {
    if (known === null) {
      this.#newer.delete(path);
      this.#older.delete(path);
      return;
    }
    this.#newer.set(path, known);
    if (this.#newer.size < ROWS_PER_HALF) return;
    this.#older = this.#newer;
    this.#newer = new Map();
  }

  clear(): void {
    this.#newer.clear();
    this.#older.clear();
  }
}
