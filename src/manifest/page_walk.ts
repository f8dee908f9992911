/**
 * One tree of the manifest's file while its pages are looked at, and whether a page is what
 * the page above says. Pure.
 *
 * @module
 */

import { BRANCH, KIND_BITS, LEAF, type Meta, type Tree, viewOf } from "./page_file.ts";

export interface Walk {
  /** Its entries count in the sum of all contents. */
  readonly isContent: boolean;
  readonly name: string;
  readonly tree: Tree;
  readonly hasNumericKeys: boolean;
  readonly readsLeaves: boolean;
  /** Null: nobody wants to know the entries. */
  readonly onEntry:
    | ((key: Uint8Array, value: Uint8Array, flags: number) => void)
    | null;
  entries: number;
  branchPages: number;
  leafPages: number;
  overflowPages: number;
}

/** Whether the bytes are those of page `page`, as it must be at `level` of the tree. */
export function isPageOf(
  walk: Walk,
  { page, bytes, level, meta }: {
    readonly page: number;
    readonly bytes: Uint8Array;
    readonly level: number;
    readonly meta: Meta;
  },
): boolean {
  const view = viewOf(bytes);
  const kind = level === walk.tree.depth ? LEAF : BRANCH;
  const transaction = Number(view.getBigUint64(8, true));
  return Number(view.getBigUint64(0, true)) === page &&
    (view.getUint16(18, true) & KIND_BITS) === kind &&
    isFitting(walk, { transaction, level, meta });
}

/**
 * Whether a page can have been written by `transaction`. Each of ours changes the counters,
 * and so the root of the table of tables: an older root, pages below it intact, would be
 * the whole manifest as it was some time ago.
 */
function isFitting(
  walk: Walk,
  { transaction, level, meta }: {
    readonly transaction: number;
    readonly level: number;
    readonly meta: Meta;
  },
): boolean {
  return level === 1 && walk.tree === meta.tables
    ? transaction === meta.transaction
    : transaction <= meta.transaction;
}
