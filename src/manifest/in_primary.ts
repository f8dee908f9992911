/**
 * An object that only the secondary had is in the primary now: nothing that names it says
 * otherwise any longer.
 *
 * @module
 */

import { type DepotPath, pathOfKey } from "../core/names.ts";
import type { StoredVersion, Tombstone } from "./manifest.ts";
import { type ManifestReader, rangeOfPrefix } from "./reader.ts";
import type { Row } from "./row.ts";
import { objectKeyPrefix } from "./row_index.ts";
import type { ChangeGroup } from "./tombstones.ts";
import { planChange } from "./transitions.ts";

/** More than name one object. */
const ALL = Number.MAX_SAFE_INTEGER;

interface Named {
  readonly rows: readonly DepotPath[];
  readonly tombstones: readonly Tombstone[];
}

/** See {@linkcode Manifest.inPrimary}. */
export async function markInPrimary(
  reader: ManifestReader,
  change: ChangeGroup,
  stored: StoredVersion,
): Promise<void> {
  // Again: a row may be renamed or deleted meanwhile, and takes its flag along.
  for (;;) {
    const { rows, tombstones } = flagged(reader, stored);
    if (rows.length === 0 && tombstones.length === 0) return;
    await change((group) => {
      for (const path of rows) {
        const row = group.row(path);
        if (row === null || !isFlaggedRow(row, stored)) continue;
        const flags = { secondaryOnly: false };
        group.change(path, row, planChange(row, { kind: "flagged", flags }));
      }
      for (const { path, id } of tombstones) {
        const current = group.tombstone(path, id);
        if (current === null || !isFlaggedTombstone(current, stored)) continue;
        group.replaceTombstone({ ...current, secondaryOnly: false });
      }
    });
  }
}

function flagged(reader: ManifestReader, stored: StoredVersion): Named {
  const all = rangeOfPrefix(objectKeyPrefix(stored.key), ALL);
  const rows = reader.indexEntries("keys_elsewhere", all)
    .map((entry) => reader.indexed("keys_elsewhere", entry))
    .filter(({ row }) => isFlaggedRow(row, stored))
    .map(({ path }) => path);
  const owner = pathOfKey(stored.key);
  const own = owner === null ? null : reader.row(owner);
  return {
    rows: own !== null && isFlaggedRow(own, stored) ? [owner!, ...rows] : rows,
    tombstones: reader.tombstonesByKey(all)
      .filter((one) => isFlaggedTombstone(one, stored)),
  };
}

function isFlaggedRow(row: Row, stored: StoredVersion): boolean {
  return row.flags.secondaryOnly && row.stored !== null && isSame(row.stored, stored);
}

function isFlaggedTombstone(tombstone: Tombstone, stored: StoredVersion): boolean {
  return tombstone.secondaryOnly && !tombstone.removed &&
    isSame(tombstone.stored, stored);
}

function isSame(a: StoredVersion, b: StoredVersion): boolean {
  return a.key === b.key && a.hash === b.hash && a.sizeBytes === b.sizeBytes;
}
