/**
 * What a rebuild concludes from an object and from what the disk shows. Pure.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { LocalStat, StoredVersion } from "./manifest.ts";
import type { LocalThing, RebuildObject } from "./rebuild.ts";

/** What a marker tells of its file: two that agree in it are the same to the nanosecond. */
export function markerText(sizeBytes: number, mtimeNs: bigint): string {
  return `${sizeBytes} ${mtimeNs}`;
}

/**
 * Which of two versions a path has. The disk decides, where it can; else what the versions
 * say themselves; else the time at which the store took them, which is a guess.
 */
export function chooseVersion(
  local: LocalThing | null,
  current: RebuildObject | null,
  other: RebuildObject,
): { readonly object: RebuildObject; readonly isGuess: boolean } {
  if (current === null) return { object: other, isGuess: false };
  const isOther = isVersionOf(local, other);
  if (isOther !== isVersionOf(local, current)) {
    return { object: isOther ? other : current, isGuess: false };
  }
  const mine = current.metadata?.generation;
  const others = other.metadata?.generation;
  if (mine !== undefined && others !== undefined && mine !== others) {
    return { object: others > mine ? other : current, isGuess: false };
  }
  const isLater = (other.storedAtMs ?? 0) > (current.storedAtMs ?? 0);
  // A file that is there is uploaded again, so that nothing depends on this choice.
  return { object: isLater ? other : current, isGuess: local?.kind !== "file" };
}

export function isVersionOf(local: LocalThing | null, object: RebuildObject): boolean {
  return local !== null && local.stat.sizeBytes === object.sizeBytes &&
    local.stat.mtimeNs === object.metadata?.mtimeNs;
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
export function statOfObject(object: RebuildObject): LocalStat {
  const { metadata } = object;
  return {
    sizeBytes: object.sizeBytes,
    mtimeNs: metadata?.mtimeNs ?? mtimeOfUpload(object),
    ctimeNs: 0n,
    mode: metadata?.mode ?? 0o444,
    uid: metadata?.uid ?? 0,
    gid: metadata?.gid ?? 0,
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
