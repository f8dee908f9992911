/**
 * The look from the other side, when every archive of the records was checked: what the store
 * lists is compared with what they expect, and what the disk and the store have beside it is told.
 *
 * @module
 */

import type { Inventory } from "./inventory.ts";
import type { RunTotals } from "./run_totals.ts";
import { LocalFileError, StoreReadError } from "./sources.ts";
import type { VerifyObserver, VerifyOptions } from "./verify_types.ts";

export interface OtherSide {
  readonly wanted: Pick<VerifyOptions, "depotPrefix" | "findsOrphans">;
  readonly hasStore: boolean;
  /** False where the records may lack some. */
  readonly hasAllRows: boolean;
  readonly inventory: Inventory;
  readonly totals: RunTotals;
  readonly observer: VerifyObserver;
}

/** Null if it was done, else why not. */
export async function lookFromOtherSide(side: OtherSide): Promise<string | null> {
  const { wanted, inventory, totals, observer } = side;
  if (wanted.depotPrefix !== null) return "only part of the depot was asked for";
  const isListed = !side.hasStore || await compareStore(side);
  if (!wanted.findsOrphans) return "it was not asked for";
  // Rows that are not there would make orphans of good files.
  if (!side.hasAllRows) return "the records may lack rows";
  if (!isListed) return "the store could not be listed";
  const isWalked = await orIncomplete(totals, async () => {
    await inventory.walkFiles((count) => observer.progress("disk", count, 0));
    inventory.walkManifest();
  });
  if (!isWalked) return "the disk could not be walked";
  const isCompared = await orIncomplete(totals, async () => {
    for await (const finding of inventory.orphans()) {
      if (finding.kind === "stray") totals.strays++;
      else totals.orphans++;
      observer.finding(finding);
    }
  });
  return isCompared ? null : "the comparison could not be finished";
}

function compareStore({ inventory, totals, observer }: OtherSide): Promise<boolean> {
  return orIncomplete(totals, async () => {
    await inventory.listStore((count) => observer.progress("store list", count, 0));
    for await (const { finding, depot, revisions } of inventory.compareStore()) {
      const kind = finding.kind === "missing" ? "missing" : "bad";
      totals.reclassify(depot, kind, revisions);
      observer.finding(finding);
    }
  });
}

/** Runs a part; what our own reach prevents makes the run incomplete. */
export async function orIncomplete(
  totals: RunTotals,
  part: () => Promise<void>,
): Promise<boolean> {
  try {
    await part();
    return true;
  } catch (error) {
    if (!(error instanceof LocalFileError) && !(error instanceof StoreReadError)) {
      throw error;
    }
    totals.addIncomplete(error.message);
    return false;
  }
}
