/**
 * What a rebuild concludes from an object and from what the disk shows. Pure.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { FileEntry, LocalStat, StoredVersion } from "./manifest.ts";
import type { LocalThing, RebuildObject, RebuildOwner } from "./rebuild_sides.ts";
import { isParked } from "./row.ts";

/** What a marker tells of its file: two that agree in it are the same to the nanosecond. */
export function markerText(sizeBytes: number, mtimeNs: bigint): string {
  return `${sizeBytes} ${mtimeNs}`;
}

/**
 * Which of two versions a path has. A marker decides: the daemon made it of the version that
 * was current. A file does not: one that comes from a backup looks just like the old version
 * that it is. Else what the versions say themselves; else the time at which the store took
 * them, which is a guess.
 */
export function chooseVersion(
  local: LocalThing | null,
  current: RebuildObject | null,
  other: RebuildObject,
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
  const isLater = (other.storedAtMs ?? 0) > (current.storedAtMs ?? 0);
  const object = isLater ? other : current;
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
