/**
 * The evicted files that a command speaks of.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";

const ROW_BATCH = 1_000;

/**
 * Rows of evicted files: of that name, else below that directory.
 *
 * @param isLost Asked of a file that is named itself, and not evicted by its row.
 */
export function* evictedRows(
  manifest: Manifest,
  selection: string,
  isLost: (path: DepotPath) => boolean = () => false,
): Generator<PathAndEntry> {
  const isEvicted = ({ entry }: PathAndEntry): boolean =>
    entry.state === "clean" && !entry.resident;
  const path = depotPathOrNull(selection);
  const entry = path === null ? null : manifest.get(path);
  if (path !== null && entry !== null) {
    const isWanted = isEvicted({ path, entry }) ||
      (entry.stored !== null && isLost(path));
    if (isWanted) yield { path, entry };
    return;
  }
  for (let after: PathAndEntry | null = null;;) {
    // Of everything none is passed over, whatever is renamed meanwhile.
    const batch: PathAndEntry[] = selection === ""
      ? manifest.byArrival(after, ROW_BATCH)
      : manifest.entries(`${selection}/`, after?.path ?? null, ROW_BATCH);
    if (batch.length === 0) return;
    after = batch.at(-1)!;
    for (const row of batch) if (isEvicted(row)) yield row;
  }
}
