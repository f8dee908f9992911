/**
 * The notes of exchanges (helpers/posix/note.c) and what helpers/posix/recover.c makes of
 * them, on the disk in memory. Nobody acts between its steps here: killed.c has that.
 *
 * @module
 */

import type { BytePath } from "../../src/core/names.ts";
import type { RecoveredExchange } from "../../src/posix/posix.ts";
import type { Inode, MemDisk } from "./mem_disk.ts";

export interface Identity {
  readonly inode: Inode;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
}

export interface Note {
  readonly stage: number;
  /** Null: the name is only to be emptied. */
  readonly put: Identity | null;
  /** Null: something else than what is there. */
  readonly wanted: Identity | null;
  readonly target: BytePath;
}

export function identityOf(inode: Inode): Identity {
  return { inode, sizeBytes: inode.bytes.length, mtimeNs: inode.mtimeNs };
}

function isIdentical(inode: Inode | null, known: Identity | null): boolean {
  return inode !== null && known !== null && inode === known.inode &&
    inode.bytes.length === known.sizeBytes && inode.mtimeNs === known.mtimeNs;
}

export function recoverExchange(disk: MemDisk, aside: BytePath): RecoveredExchange {
  const note = disk.notes.get(aside);
  if (note === undefined) return { outcome: "no-note" };
  const { target, stage } = note;
  const out = disk.find(aside);
  if (out === null || (isIdentical(out, note.put) && stage === 0)) {
    return removeBoth(disk, aside, target);
  }
  const isPutWritten = stage > 0 && out === note.put?.inode &&
    isIdentical(disk.find(target), note.wanted);
  if (isIdentical(out, note.put) || isPutWritten) {
    return giveBack(disk, aside, note, false);
  }
  const isWrittenStill = stage === 0 && out.kind === "file" && out.writers > 0;
  if (!isIdentical(out, note.wanted) || isWrittenStill) {
    return giveBack(disk, aside, note, true);
  }
  return stage < 2 ? removeBoth(disk, aside, target) : { outcome: "to-be-kept", target };
}

function removeBoth(
  disk: MemDisk,
  aside: BytePath,
  target: BytePath,
): RecoveredExchange {
  if (disk.find(aside) !== null) disk.unlink("recover", aside);
  disk.notes.delete(aside);
  return { outcome: "nothing-left", target };
}

function giveBack(
  disk: MemDisk,
  aside: BytePath,
  { put, wanted, stage, target }: Note,
  hasHappened: boolean,
): RecoveredExchange {
  const there = disk.find(target);
  const parent = disk.find(target.slice(0, target.lastIndexOf("/")));
  if (there === null && put === null && parent?.kind === "directory") {
    disk.rename("recover", aside, target);
    disk.notes.delete(aside);
    return { outcome: "has-its-name", target };
  }
  if (!isIdentical(there, hasHappened ? put : wanted)) {
    return { outcome: "to-be-kept", target };
  }
  disk.exchange("recover", aside, target);
  // Ours is what came out, or a version that p4d replaced while the name showed ours.
  if ((hasHappened ? stage : stage - 1) > 0) return { outcome: "to-be-kept", target };
  removeBoth(disk, aside, target);
  return { outcome: "has-its-name", target };
}
