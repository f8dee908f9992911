/**
 * The order in which passes of eviction take rows: from the least recently used. Rows at its
 * beginning that stay for long, as pinned ones do, are passed over by the passes after, for as
 * long as a look at all of them is a small part of the time: there may be millions, and a pass
 * begins every few seconds while the cache is too full.
 *
 * @module
 */

import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";

const BATCH = 64;

/**
 * From the oldest again after this, at the earliest: a row that stays may have been let go, and
 * a file that was written long ago and is uploaded only now stands before them.
 */
const AGAIN_MS_MIN = 30_000;

/** And later where many stay: a look takes 10 to 40 microseconds. */
const AGAIN_MS_PER_FILE = 0.2;

type Rows = Pick<Manifest, "leastRecentlyUsed">;

/** Those that were read once stand before the others, and new ones come to the end of each part. */
type Part = "readOnce" | "others";

export class EvictOrder {
  readonly #rows: Rows;
  /** All rows of the part up to this one stay. */
  readonly #staying = new Map<Part, PathAndEntry>();
  #stayingFiles = 0;
  #fromOldestMs = -Infinity;

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  /** What stayed may go now: the next walk begins with the oldest. */
  forget(): void {
    this.#staying.clear();
    this.#stayingFiles = 0;
    this.#fromOldestMs = -Infinity;
  }

  /** Begins at the first row that may go; from the oldest if that was not done for long. */
  walk(nowMs: number): EvictWalk {
    const againMs = Math.max(AGAIN_MS_MIN, this.#stayingFiles * AGAIN_MS_PER_FILE);
    if (nowMs - this.#fromOldestMs >= againMs) {
      this.forget();
      this.#fromOldestMs = nowMs;
    }
    return new EvictWalk(this.#rows, new Map(this.#staying), (part, row) => {
      this.#staying.set(part, row);
      this.#stayingFiles += 1;
    });
  }
}

export class EvictWalk {
  readonly #rows: Rows;
  readonly #staying: ReadonlyMap<Part, PathAndEntry>;
  readonly #onStaying: (part: Part, row: PathAndEntry) => void;
  /** Parts in which a row was met that may go, now or later. */
  readonly #ended = new Set<Part>();
  #after: PathAndEntry | undefined;
  #part: Part = "readOnce";
  #batch: readonly PathAndEntry[] = [];

  constructor(
    rows: Rows,
    staying: ReadonlyMap<Part, PathAndEntry>,
    onStaying: (part: Part, row: PathAndEntry) => void,
  ) {
    this.#rows = rows;
    this.#staying = staying;
    this.#onStaying = onStaying;
    this.#after = staying.get("readOnce");
  }

  /** The next rows, all of one part; none at the end. */
  next(): readonly PathAndEntry[] {
    let batch = this.#rows.leastRecentlyUsed(BATCH, this.#after);
    if (this.#part === "readOnce" && batch.length > 0 && partOf(batch[0]!) === "others") {
      this.#part = "others";
      this.#after = this.#staying.get("others") ?? this.#after;
      batch = this.#rows.leastRecentlyUsed(BATCH, this.#after);
    }
    const end = batch.findIndex((row) => partOf(row) !== this.#part);
    this.#batch = end < 0 ? batch : batch.slice(0, end);
    this.#after = this.#batch.at(-1) ?? this.#after;
    return this.#batch;
  }

  /** Which rows of the batch stay for long, in its order, as far as they were looked at. */
  note(stays: readonly boolean[]): void {
    for (const [i, row] of this.#batch.entries()) {
      if (stays[i] !== true) this.#ended.add(this.#part);
      if (this.#ended.has(this.#part)) return;
      this.#onStaying(this.#part, row);
    }
  }
}

function partOf({ entry }: PathAndEntry): Part {
  return entry.flags.readOnce ? "readOnce" : "others";
}
