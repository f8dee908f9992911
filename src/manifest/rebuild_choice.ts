/**
 * What a rebuild concludes from an object and from what the disk shows. Pure.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { FileEntry, LocalStat, StoredVersion, Tombstone } from "./manifest.ts";
import type { LocalThing, RebuildObject, RebuildOwner } from "./rebuild_sides.ts";
import { isParked } from "./row.ts";

/** What a marker tells of its file: two that agree in it are the same to the nanosecond. */
export function markerText(sizeBytes: number, mtimeNs: bigint): string {
  return `${sizeBytes} ${mtimeNs}`;
}

/**
 * Which of two versions a path has. A marker decides: the daemon made it of the version that
 * was current. A file does not: one that comes from a backup looks just like the old version
 * that it is. Else what the versions say themselves; else, as a guess, the time at which the
 * store took them. Of two stores (`inTwoStores`) the times at which the file was written: one
 * may be a copy of the other, made whenever.
 */
export function chooseVersion(
  local: LocalThing | null,
  current: RebuildObject | null,
  other: RebuildObject,
  inTwoStores = false,
): { readonly object: RebuildObject; readonly isGuess: boolean } {
  if (current === null) return { object: other, isGuess: false };
  const isOther = isVersionOf(local, other);
  if (local?.kind === "marker" && isOther !== isVersionOf(local, current)) {
    return { object: isOther ? other : current, isGuess: false };
  }
  const mine = current.metadata?.generation;
  const others = other.metadata?.generation;
  if (mine !== undefined && others !== undefined && mine !== others) {
    return { object: others > mine ? other : current, isGuess: false };
  }
  const timeOf = (object: RebuildObject): bigint =>
    inTwoStores ? storedVersionOf(object).mtimeNs : BigInt(object.storedAtMs ?? 0);
  const object = timeOf(other) > timeOf(current) ? other : current;
  const isConfirmed = local?.kind === "file" && isVersionOf(local, object);
  return { object, isGuess: !isConfirmed };
}

/**
 * compare: it may be the stored version, which its hash tells. written: it is newer, or the
 * store has nothing that it could be measured by. conflict: the store's version may be the
 * newer one, as after a restore from a backup.
 */
export type FilePlan = "compare" | "written" | "conflict";

/** What a file is that the row does not know, where the store may have another version. */
export function planUnknownFile(entry: FileEntry, stat: LocalStat): FilePlan {
  const { stored } = entry;
  // One that waits for a decision goes on waiting, whatever was written over it.
  if (stored === null || isParked(entry)) return "written";
  if (stat.sizeBytes === stored.sizeBytes) {
    return stored.hash === null ? "written" : "compare";
  }
  // Archives grow. A shorter one with a new time may be an old one that a restore touched.
  const isNewer = stat.mtimeNs > stored.mtimeNs && stat.sizeBytes > stored.sizeBytes;
  return isNewer ? "written" : "conflict";
}

export function isVersionOf(local: LocalThing | null, object: RebuildObject): boolean {
  return local !== null && local.stat.sizeBytes === object.sizeBytes &&
    local.stat.mtimeNs === object.metadata?.mtimeNs;
}

/**
 * Whether an eviction of the row's file would have made the marker: with the time of the file, or
 * where that was lost, of the version. Another one is of a file that was renamed to this name.
 */
export function isMarkerOfRow(
  { stored, local }: FileEntry,
  { sizeBytes, mtimeNs }: LocalStat,
): boolean {
  return stored !== null && sizeBytes === stored.sizeBytes &&
    (mtimeNs === stored.mtimeNs || mtimeNs === local.mtimeNs);
}

/** Whether the marker is of the object, as far as its metadata say. */
export function isMarkerOfObject(
  { sizeBytes, mtimeNs }: LocalStat,
  { sizeBytes: storedBytes, metadata }: RebuildObject,
): boolean {
  const time = metadata?.mtimeNs ?? null;
  return sizeBytes === storedBytes && (time === null || time === mtimeNs);
}

/**
 * A marker says the size of the version that was evicted, and the time of the file; that may be
 * set anew, its size not. One of another size that is later than `stored` is of a later version,
 * which was in a store when the marker was made.
 */
export function isOfLaterVersion(
  marker: LocalStat,
  stored: Pick<StoredVersion, "sizeBytes" | "mtimeNs">,
): boolean {
  return marker.sizeBytes !== stored.sizeBytes && marker.mtimeNs > stored.mtimeNs;
}

/**
 * What a row says of its object, where no store can be asked or has it. Its generation is above that
 * of its upload, and of all uploads before: only what was stored since is newer.
 */
export function objectOfRow(entry: FileEntry): RebuildObject {
  const { stored, local, generation } = entry;
  const { key, hash, sizeBytes, mtimeNs, versionId } = stored!;
  const { mode, uid, gid } = local;
  const metadata = { hash, mtimeNs, mode, uid, gid, path: null, generation };
  return { key, sizeBytes, storedAtMs: knownMs(entry), versionId, metadata };
}

/** When the row was known to have its object, in the daemon's time. */
function knownMs({ createdAtS, settledAtS, lastAccessS }: FileEntry): number {
  return Math.max(createdAtS, settledAtS, lastAccessS) * 1000;
}

/** Between the store's clock and the daemon's. Where they are further apart, a HEAD tells. */
const CLOCKS_APART_MS_MAX = 5_000;

/**
 * Whether the list and the disk let no doubt that the object is still the one that the row names. A key
 * is free again once what was deleted is gone from the store, and then another file may have it. To
 * ask the store of each object would take hours.
 */
export function isConfirmed(
  entry: FileEntry,
  { sizeBytes, storedAtMs }: RebuildObject,
  local: LocalThing | null,
): boolean {
  // What is in another instance's prefix has any size.
  if (entry.stored!.sizeBytes !== sizeBytes && !entry.flags.borrowed) return false;
  if (local !== null) {
    return isMarkerOfRow(entry, local.stat) || isSameFile(entry.local, local.stat);
  }
  return storedAtMs !== null && storedAtMs <= knownMs(entry) + CLOCKS_APART_MS_MAX;
}

/** Whether the object is the one that the row names, and was not stored anew since. */
export function isObjectOfRow(entry: FileEntry, object: RebuildObject): boolean {
  const storedIn = object.metadata?.generation ?? 0;
  return storedIn <= entry.generation && hasContentOf(entry.stored!, object);
}

/** As far as both say. */
export function hasContentOf(
  { hash, sizeBytes, mtimeNs }: StoredVersion,
  { sizeBytes: otherBytes, metadata }: RebuildObject,
): boolean {
  if (sizeBytes !== otherBytes) return false;
  if (metadata === null || metadata.hash === null) return true;
  if (hash !== null) return hash === metadata.hash;
  return metadata.mtimeNs === null || metadata.mtimeNs === mtimeNs;
}

/**
 * Whether an object is of a later file than the tombstone of its key, whose object was removed then. The
 * same bytes may be that one's still, and only the store's time tells; unless they have to be other
 * ones (`hasToDiffer`). A lost upload is buried whether or not it ever ended, and late.
 */
export function isOfLaterFile(
  { stored, atMs }: Pick<Tombstone, "stored" | "atMs">,
  object: RebuildObject,
  hasToDiffer: boolean,
): boolean {
  if (stored.hash === null) {
    return stored.sizeBytes !== object.sizeBytes ||
      stored.mtimeNs !== storedVersionOf(object).mtimeNs;
  }
  if (!hasContentOf(stored, object)) return true;
  return !hasToDiffer && (object.storedAtMs ?? 0) > atMs;
}

export function storedVersionOf(object: RebuildObject): StoredVersion {
  return {
    key: object.key,
    hash: object.metadata?.hash ?? null,
    sizeBytes: object.sizeBytes,
    mtimeNs: object.metadata?.mtimeNs ?? mtimeOfUpload(object),
    versionId: object.versionId,
  };
}

function mtimeOfUpload({ storedAtMs }: RebuildObject): bigint {
  return BigInt(storedAtMs ?? 0) * 1_000_000n;
}

/** Of a file that is not on the disk; what the store does not know is what `p4d` makes. */
export function statOfObject(object: RebuildObject, owner: RebuildOwner): LocalStat {
  const { metadata } = object;
  return {
    sizeBytes: object.sizeBytes,
    mtimeNs: metadata?.mtimeNs ?? mtimeOfUpload(object),
    ctimeNs: 0n,
    mode: metadata?.mode ?? 0o444,
    uid: metadata?.uid ?? owner.uid,
    gid: metadata?.gid ?? owner.gid,
    ino: 0n,
    dev: 0n,
  };
}

/** No write can have happened between the two. */
export function isSameFile(a: LocalStat, b: LocalStat): boolean {
  return a.ino === b.ino && a.sizeBytes === b.sizeBytes && a.mtimeNs === b.mtimeNs &&
    a.ctimeNs === b.ctimeNs;
}

export function pathOfPercent(encoded: string): DepotPath | null {
  return depotPathOrNull(
    encoded.replace(
      /%([0-9A-Fa-f]{2})/g,
      (_, hex) => String.fromCharCode(parseInt(hex, 16)),
    ),
  );
}
