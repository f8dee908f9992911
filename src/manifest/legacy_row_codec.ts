/**
 * Rows of the versions before 2: pre-magic, 0 and 1. `file_entry_codec.ts` has the table of
 * the layouts, and decides which version a row is written in.
 *
 * @module
 */

import { bytePathOf, objectKeyOf } from "../core/names.ts";
import { ByteReader, type ByteWriter } from "./byte_cursor.ts";
import { textOf } from "./codec_text.ts";
import { FormatError } from "./format_error.ts";
import type { FileState, LocalStat } from "./manifest.ts";
import { NO_FLAGS, type QueuePlace, type Row } from "./row.ts";

export const MAGIC = "P4FE";
export const MAGIC_BYTES = 4;
export const HASH_BYTES = 32;

/** Order is part of the format: append only. */
export const STATES: readonly FileState[] = ["clean", "dirty", "uploading"];

/** @throws {FormatError} */
export function stateOf(code: number): FileState {
  const state = STATES[code];
  if (state === undefined) throw new FormatError("damaged", `its state is ${code}`);
  return state;
}

/** Whether the total length is what the key length, read at its place, asks for. */
export function fitsLegacy(bytes: Uint8Array, start: number, tailBytes: number): boolean {
  const lengthAt = start + 25;
  if (bytes.length < lengthAt + 4) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const keyLength = view.getUint32(lengthAt, true);
  if (lengthAt + 4 + keyLength + tailBytes !== bytes.length) return false;
  return !bytes.subarray(lengthAt + 4, lengthAt + 4 + keyLength).includes(0);
}

const UNKNOWN_STAT: Omit<LocalStat, "sizeBytes"> = {
  mtimeNs: 0n,
  ctimeNs: 0n,
  mode: 0,
  uid: 0,
  gid: 0,
  ino: 0n,
  dev: 0n,
};

/** Only the fields of the owner's FileEntry are set: what v0 and v1 can hold. */
export function isLegacyShaped(row: Row): boolean {
  const { local, stored, flags } = row;
  return row.id === 0 && row.generation === 1 && row.settledAtS === 0 &&
    !row.tombstoned &&
    row.resident === (row.state !== "clean") && isUnknown(local) &&
    (row.queue === null) === (row.state === "clean") &&
    (row.queue === null || isUnqueued(row.queue)) &&
    (stored === null
      ? row.state !== "clean"
      : stored.sizeBytes === local.sizeBytes && stored.mtimeNs === 0n &&
        stored.versionId === null && stored.key !== "") &&
    !flags.foreign && !flags.conflict && !flags.borrowed && !flags.secondaryOnly &&
    !flags.pinned;
}

function isUnknown(local: LocalStat): boolean {
  return local.mtimeNs === 0n && local.ctimeNs === 0n && local.ino === 0n &&
    local.dev === 0n && local.mode === 0 && local.uid === 0 && local.gid === 0;
}

const UNQUEUED: QueuePlace = {
  sequence: 0,
  dirtySinceMs: 0,
  queuedAtMs: 0,
  retryAtMs: null,
};

function isUnqueued(queue: QueuePlace): boolean {
  return queue.sequence === 0 && queue.dirtySinceMs === 0 && queue.queuedAtMs === 0 &&
    queue.retryAtMs === null;
}

export function writeLegacy(scratch: ByteWriter, row: Row): void {
  const hash = row.stored?.hash ?? null;
  const key = bytePathOf(row.stored?.key ?? "");
  scratch.latin1(MAGIC);
  scratch.u8(hash === null ? 0 : 1);
  scratch.u64(row.local.sizeBytes);
  scratch.u64(row.lastAccessS);
  scratch.u64(row.createdAtS);
  scratch.u8(STATES.indexOf(row.state));
  scratch.u32(key.length);
  scratch.latin1(key);
  if (hash !== null) scratch.hex(hash);
}

/**
 * What an older system did not keep is unknown here: whether a clean file is resident
 * (taken as not: a scan finds it), its stat, and the size of the version in the store
 * while the row is dirty (taken as the row's own; a restore checks it).
 */
export function readLegacy(bytes: Uint8Array, start: number, hashed: boolean): Row {
  const reader = new ByteReader(bytes);
  reader.position = start;
  const sizeBytes = reader.u64();
  const lastAccessS = reader.u64();
  const createdAtS = reader.u64();
  const state = stateOf(reader.u8());
  const key = textOf(reader.latin1(reader.u32()));
  const hash = hashed ? reader.hex(HASH_BYTES) : null;
  if (state === "clean" && key === "") {
    throw new FormatError("damaged", "it is clean and names no object");
  }
  if (key === "" && hash !== null) {
    throw new FormatError("damaged", "it has a hash and names no object");
  }
  return {
    state,
    resident: state !== "clean",
    generation: 1,
    local: { ...UNKNOWN_STAT, sizeBytes },
    lastAccessS,
    createdAtS,
    settledAtS: 0,
    stored: key === "" ? null : {
      key: objectKeyOf(key),
      hash,
      sizeBytes,
      mtimeNs: 0n,
      versionId: null,
    },
    flags: NO_FLAGS,
    id: 0,
    queue: state === "clean" ? null : UNQUEUED,
    tombstoned: false,
  };
}
