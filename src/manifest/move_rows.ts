/**
 * A row takes another path: what it takes along, and what it leaves at both names.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { Row } from "./row.ts";
import type { Transaction } from "./transaction.ts";
import { planMove, planOverwritten } from "./transitions.ts";

export interface Move {
  readonly from: DepotPath;
  readonly to: DepotPath;
}

/** The row of `from`, which there must be, becomes that of `to`. */
export function moveRow(
  group: Transaction,
  { from, to }: Move,
  nowMs: number,
  whiteout = false,
): Row {
  const row = group.row(from)!;
  const target = group.row(to);
  const moved = group.move({ from, to }, {
    row,
    moved: planMove(row, nowMs),
    overwritten: target === null
      ? null
      : { row: target, change: planOverwritten(target, nowMs) },
  });
  if (whiteout) group.hide(from, row);
  return moved;
}

/** No file of the depot: where a row is within one step of an exchange. */
const BETWEEN = ".p4cache/between" as DepotPath;

/** The rows of two paths, which there must be, trade places. */
export function exchangeRows(group: Transaction, a: DepotPath, b: DepotPath): Row {
  // No target is there in any of these, so that no tombstone is made.
  moveRow(group, { from: a, to: BETWEEN }, 0);
  moveRow(group, { from: b, to: a }, 0);
  return moveRow(group, { from: BETWEEN, to: b }, 0);
}
