/**
 * Named places at which a test lets the daemon die as by kill -9: one between any two
 * durable actions of an upload, a restore, an eviction, a delete, a recovery, a scan and a
 * start. In production nothing is armed, and a place costs one branch.
 *
 * @module
 */

/** Every place. The crash test refuses to pass until it has died at each of them. */
export const CRASH_POINTS = [
  "upload/row-uploading", //     the row says uploading; nothing was read yet
  "upload/flushed", //           the local file is on the disk
  "upload/hashed", //            about to ask the store
  "upload/stored", //            the object stands; the row does not name it yet
  "upload/row-clean", //         the row names the object
  "upload/row-given-back", //    changed while it was sent: dirty again, not looked at yet
  "restore/temporary-named", //  an empty file, of a restore that is not small
  "restore/fetched", //          whole and checked, in memory or not flushed, not in its place
  "restore/published", //        in its place, the marker gone; the row says evicted
  "restore/readable", //         whoever waits for it has been told, or is about to be
  "restore/row-resident",
  "restore/temporary-removed",
  "evict/confirmed", //          the store has it; the file is untouched
  "evict/marker-in-place", //    the marker is there, the bytes gone; the row says resident
  "evict/row-evicted",
  "delete/looked", //            p4d unlinked the name; the row is as it was
  "delete/row-tombstone",
  "sweep/object-found",
  "sweep/object-removed", //     the object is gone; its tombstone is due still
  "sweep/tombstone-removed",
  "rename/row-moved", //         the row has its new name; its file was not looked at yet
  "observe/row-written",
  "observe/row-attributes",
  "observe/row-vanished", //     the row says evicted; its name may lack the marker
  "observe/marker-put",
  "scan/disk-walked", //         between the walk of the disk and that of the rows
  "scan/finished", //            done, and not written down as done
  "scan/recorded",
  "recovery/entry-removed", //   some leftovers of a crash are gone, not all
  "recovery/file-returned", //   a file of p4d's has its name again; its row knows nothing
  "recovery/file-kept", //       one file is in lost+found, not flushed
  "recovery/finished",
  "start/probe-made", //         a marker of the file system's probe lies in tmp/
  "start/instance-in-manifest", // a new instance has its id; the store does not know
  "start/instance-in-store",
  "start/device-kept",
  "start/watcher-proved", //     events are taken in; nobody is served
  "start/gate-open",
] as const;

export type CrashPoint = typeof CRASH_POINTS[number];

interface Armed {
  readonly name: CrashPoint;
  visitsLeft: number;
  readonly die: () => void;
}

let armed: Armed | null = null;

/** Dies here if this place is the one that was armed. */
export function crashPoint(name: CrashPoint): void {
  if (armed === null) return;
  if (armed.name === name && --armed.visitsLeft === 0) armed.die();
}

/**
 * Arms one place: `spec` is `<name>` or `<name>:<n>`, for the n-th visit.
 *
 * @param die Must not return in a daemon.
 * @throws {RangeError} If there is no such place.
 */
export function armCrashPoint(spec: string, die: () => void): void {
  const [text = "", visits = "1"] = spec.split(":");
  const name = CRASH_POINTS.find((it) => it === text);
  if (name === undefined || !/^[1-9][0-9]{0,8}$/.test(visits)) {
    throw new RangeError(
      `Cannot arm "${spec}": <name> or <name>:<n> is wanted, with a name of ` +
        `${CRASH_POINTS.join(" ")}`,
    );
  }
  armed = { name, visitsLeft: Number(visits), die };
}

/** For tests. */
export function disarmCrashPoint(): void {
  armed = null;
}
