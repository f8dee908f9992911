/**
 * Looks at the leaf pages of one branch page of the manifest's file, in C: a manifest of a
 * million rows has sixty thousand, and a daemon looks at all of them before it serves.
 * What is asked and what a verdict means is src/manifest/page_check.ts's.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { Calls } from "./symbols.ts";

/** Of p4posix_leaves: six words. */
export const LEAVES_BYTES = 48;
/** A page of 8,192 bytes has fewer nodes. */
const CHILDREN_MAX = 1_024;
/** Two keys of the longest kind. */
const BOUNDS_BYTES = 2 * 4_096;
const NO_BOUND = -1n;

export interface LeafQuestion {
  /** The branch page, already found to be sound. */
  readonly branch: Uint8Array<ArrayBuffer>;
  /** The least key that may come, and the one behind the last; null: no bound. */
  readonly from: Uint8Array | null;
  readonly before: Uint8Array | null;
  /** No page may be of a newer one. */
  readonly transactionMax: number;
  /** Whether the checksums of the entries are wanted. */
  readonly isSummed: boolean;
}

export interface LeafAnswer {
  /** For each child 1 if it is a plain leaf page in order, 0 to look closer. Read it at once. */
  readonly verdicts: Uint8Array;
  /** Of the plain ones. */
  readonly entries: number;
  readonly sum: number;
}

/** Reads descriptors, by `openRead` and until `close` of the same library. */
export interface LeafPages {
  leafPages(fd: number, question: LeafQuestion): LeafAnswer;
}

/** Memory for one question at a time. */
export class LeafScratch {
  readonly #words = new BigInt64Array(LEAVES_BYTES / 8);
  readonly #bounds = new Uint8Array(BOUNDS_BYTES);
  readonly #verdicts = new Uint8Array(CHILDREN_MAX);

  /** The result of the call, or its answer. */
  ask(calls: Calls, fd: number, question: LeafQuestion): number | LeafAnswer {
    const { branch, from, before, transactionMax, isSummed } = question;
    const fromBytes = from?.length ?? 0;
    assert(fromBytes + (before?.length ?? 0) <= BOUNDS_BYTES, "a key is too long");
    if (from !== null) this.#bounds.set(from);
    if (before !== null) this.#bounds.set(before, fromBytes);
    const words = this.#words;
    words[0] = BigInt(transactionMax);
    words[1] = isSummed ? 1n : 0n;
    words[2] = from === null ? NO_BOUND : BigInt(fromBytes);
    words[3] = before === null ? NO_BOUND : BigInt(before.length);
    const children = calls.p4posix_leaf_pages(
      fd,
      branch,
      this.#bounds,
      new Uint8Array(words.buffer),
      this.#verdicts,
      CHILDREN_MAX,
    );
    if (children < 0) return children;
    return {
      verdicts: this.#verdicts.subarray(0, children),
      entries: Number(words[4]),
      sum: Number(words[5]),
    };
  }
}
