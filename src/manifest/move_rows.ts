/**
 * A row takes another path: what it takes along, and what it leaves at both names.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { Leaving } from "./manifest.ts";
import { type Row, uploadedSince } from "./row.ts";
import type { Transaction } from "./transaction.ts";
import { planMove, planOverwritten } from "./transitions.ts";

export interface Move {
  readonly from: DepotPath;
  readonly to: DepotPath;
}

/** The row of `from`, which there must be, becomes that of `to`. */
export function moveRow(
  group: Transaction,
  move: Move,
  nowMs: number,
  leaving: Leaving = {},
): Row {
  const row = group.row(move.from)!;
  const overwritten = group.row(move.to);
  const moved = placeRow(group, move, nowMs);
  if (overwritten !== null) buryLostUpload(group, move.to, overwritten, leaving);
  buryLostUpload(group, move.from, row, leaving);
  if (leaving.whiteout) group.hide(move.from, row);
  return moved;
}

function placeRow(group: Transaction, { from, to }: Move, nowMs: number): Row {
  const row = group.row(from)!;
  const target = group.row(to);
  return group.move({ from, to }, {
    row,
    moved: planMove(row, nowMs),
    overwritten: target === null
      ? null
      : { row: target, change: planOverwritten(target, nowMs) },
  });
}

/**
 * `row`, which `path` had, named no object, but an upload of it may have ended without anybody's
 * knowledge. Once it is another path's, or none, nothing names the key that it was put under.
 */
function buryLostUpload(
  group: Transaction,
  path: DepotPath,
  row: Row,
  { firstKey, whiteout = false }: Leaving,
): void {
  if (row.stored !== null || firstKey === undefined) return;
  const { sizeBytes, mtimeNs } = row.local;
  const stored = { key: firstKey(path), hash: null, sizeBytes, mtimeNs, versionId: null };
  group.bury(path, { stored, local: uploadedSince(row), whiteout });
}

/** No file of the depot: where a row is within one step of an exchange. */
const BETWEEN = ".p4cache/between" as DepotPath;

/** The rows of two paths, which there must be, trade places. */
export function exchangeRows(
  group: Transaction,
  a: DepotPath,
  b: DepotPath,
  leaving: Leaving = {},
): Row {
  const rows = [[a, group.row(a)!], [b, group.row(b)!]] as const;
  // No target is there in any of these, so that no tombstone is made.
  placeRow(group, { from: a, to: BETWEEN }, 0);
  placeRow(group, { from: b, to: a }, 0);
  const moved = placeRow(group, { from: BETWEEN, to: b }, 0);
  for (const [path, row] of rows) buryLostUpload(group, path, row, leaving);
  return moved;
}
