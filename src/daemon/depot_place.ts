/**
 * Whether the depot is where its manifest was made for. Rows know files by the numbers of their
 * inodes, which count on their own file system only; and an empty mount point looks like a new disk.
 *
 * The number of the device alone does not tell: the kernel gives it by the order in which devices turn
 * up, so that of an LVM volume, a loop device, a second NVMe disk or a btrfs volume may be another after
 * a reboot. The directory `.p4cache` is made once and never replaced, by nothing of ours: its
 * inode and birth time say which file system this is. A tree that was copied (rsync, a backup) has
 * others; a snapshot or a clone of the whole device has the same, and the same inodes, too.
 *
 * @module
 */

import type { Manifest } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";

export interface DepotPlace {
  /** st_dev of the depot root. */
  readonly device: string;
  /** Of `.p4cache`: inode and birth time; null where the file system keeps none. */
  readonly identity: string | null;
}

/** go: as it was. learn: nothing to compare with. renumbered: another device number, the same place. */
export type PlaceVerdict = "go" | "learn" | "renumbered" | "another";

/** `statePath`: `<depot>/.p4cache`. */
export function identityOf(statePath: string): string | null {
  const { ino, birthtime } = Deno.lstatSync(statePath);
  // A file system that keeps no birth time says 0, or nothing.
  const birthMs = birthtime?.getTime() ?? 0;
  return ino === null || birthMs <= 0 ? null : `${ino} ${birthMs}`;
}

/** What the manifest knows of its place; null: nothing yet. */
export function knownPlaceOf(manifest: Pick<Manifest, "meta">): DepotPlace | null {
  const device = manifest.meta("depot_device");
  return device === null
    ? null
    : { device, identity: manifest.meta("depot_identity") || null };
}

/** Pure. */
export function judgePlace(known: DepotPlace | null, now: DepotPlace): PlaceVerdict {
  if (known === null) return "learn";
  if (known.device === now.device) {
    // Of before this was kept. One that differs is of a tree that was moved on its own disk.
    return now.identity === null || known.identity === now.identity ? "go" : "learn";
  }
  const isSame = known.identity !== null && known.identity === now.identity;
  return isSame ? "renumbered" : "another";
}

/**
 * From now on the manifest belongs here. The identity first: a death in between is a start on the
 * device of before, which learns it again.
 */
export async function keepPlace(
  manifest: Pick<Manifest, "setMeta">,
  { device, identity }: DepotPlace,
): Promise<void> {
  // That of another place must not stay beside the device of this one.
  await manifest.setMeta("depot_identity", identity ?? "");
  await manifest.setMeta("depot_device", device);
}

export function warnOfNumber(
  log: Pick<Logger, "warn">,
  known: DepotPlace | null,
  now: DepotPlace,
): void {
  log.warn(
    "the depot's device has another number than before, and is the same: its directory " +
      ".p4cache is the one that was made there",
    { before: known?.device ?? "", now: now.device },
  );
}
