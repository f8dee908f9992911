/**
 * Binary form of one manifest row. Pure. All numbers little-endian; `docs/formats.md` has
 * each layout with an example.
 *
 *     offset  size  field                 pre-magic   v0          v1          v2
 *          0     4  magic "P4FE"          0           0           0           0
 *          4     1  version               -           4 (=0)      4 (=1)      4 (=2)
 *                8  size                  4           5           5           below
 *                8  last access, s        12          13          13
 *                8  created at, s         20          21          21
 *                1  state                 28          29          29
 *                4  key length n          29          30          30
 *                n  key, UTF-8            33          34          34
 *               32  BLAKE3-256            -           -           34+n
 *
 * Version 2:
 *
 *          5     1  state: 0 clean, 1 dirty, 2 uploading
 *          6     1  bit 0 resident, 1 has a stored version, 2 foreign, 3 conflict,
 *                   4 borrowed, 5 secondary only, 6 pinned, 7 may have tombstones
 *          7     1  bit 0 stored hash is there, 1 stored size and mtime are the local ones
 *                   and not repeated, 2 version id is there, 3 retry deadline is there,
 *                   4 read once; the others are zero, and a reader rejects anything else
 *          8     8  local size                       56     8  local mtime, ns, i64
 *         16     8  last access, s                   64     8  local ctime, ns, i64
 *         24     8  created at, s                    72     8  local inode
 *         32     8  settled at, s                    80     8  local device
 *         40     8  generation                       88     4  mode
 *         48     8  row id                           92     4  uid
 *                                                    96     4  gid
 *        100        if not clean: sequence u64, dirty since ms u64, queued at ms u64,
 *                   and with bit 3 retry at ms u64
 *                   if it has a stored version: [hash 32] [size u64, mtime ns i64]
 *                   shared u16 (leading bytes of the key that are those of the path),
 *                   length u16, rest of the key, [length u16, version id as UTF-8]
 *       last     4  CRC-32C of the path's bytes and all bytes before
 *
 * The encoder writes the lowest version that holds the row without loss. Versions before 2
 * hold what the systems before this one kept; they have no checksum and are accepted only
 * where such rows are expected (migration, import), never in place of a version 2 row.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { DepotPath } from "../core/names.ts";
import { ByteReader, ByteWriter } from "./byte_cursor.ts";
import { u64Key } from "./byte_keys.ts";
import type { ByteKey } from "./key_value.ts";
import { crc32cOf, type LabelSums, labelSumsOf, sealedSumsOf } from "./crc32c.ts";
import { FormatError } from "./format_error.ts";
import {
  fitsLegacy,
  HASH_BYTES,
  isLegacyShaped,
  MAGIC,
  MAGIC_BYTES,
  readLegacy,
  stateOf,
  STATES,
  writeLegacy,
} from "./legacy_row_codec.ts";
import type { FileFlags, LocalStat } from "./manifest.ts";
import type { KnownRow, QueuePlace, Row } from "./row.ts";
import { FIXED_BYTES, isV2, MAGIC_U32, RESIDENT, u32At } from "./row_glance.ts";
import {
  readStored,
  STORED_LAYOUT_BITS,
  storedLayoutBitsOf,
  writeStored,
} from "./stored_version_codec.ts";

/** Which versions a reader takes. `any`: also those without a checksum. */
export type AcceptedRows = "v2" | "any";

/** How a row stood on disk. */
export type RowVersion = "pre-magic" | "v0" | "v1" | "v2";

/** Header, queue, hash, sizes, key, version id and checksum of the longest row. */
const ROW_BYTES_MAX = 16_384;

const HAS_STORED = 2;
const FOREIGN = 4;
const CONFLICT = 8;
const BORROWED = 16;
const SECONDARY_ONLY = 32;
const PINNED = 64;
const TOMBSTONED = 128;
const HAS_RETRY = 8;
const READ_ONCE = 16;
const LAYOUT_BITS = STORED_LAYOUT_BITS | HAS_RETRY | READ_ONCE;

const scratch = new ByteWriter(ROW_BYTES_MAX);

/** The bytes of `row` under `path`, in the lowest version that holds it. */
export function encodeRow(path: DepotPath, row: Row): Uint8Array<ArrayBuffer> {
  if (!isLegacyShaped(row)) {
    return encodeRowAndSum(path, row, rowLabelOf(path, row)).bytes;
  }
  scratch.position = 0;
  writeLegacy(scratch, row);
  return scratch.finish();
}

/** Where the checksums of a row's value begin: its path seals it, its id is its key. */
export function rowLabelOf(path: DepotPath, { id }: Pick<Row, "id">): LabelSums {
  return labelSumsOf(path, u64Key(id));
}

/** The bytes of a row that has an id, and the checksum of its entry. */
export function encodeRowAndSum(
  path: DepotPath,
  row: Row,
  label: LabelSums,
): { bytes: Uint8Array<ArrayBuffer>; sum: number } {
  scratch.position = 0;
  writeV2(path, row);
  const { seal, entry } = sealedSumsOf(label, scratch.bytes, scratch.position);
  scratch.u32(seal);
  return { bytes: scratch.finish(), sum: entry };
}

/**
 * The row in the first `length` of the bytes, where only version 2 belongs, with its
 * checksums.
 *
 * @throws {FormatError} If they are of a newer version, or not a row of this path.
 */
export function decodeRowAndSum(
  { path, key }: { readonly path: DepotPath; readonly key: ByteKey },
  bytes: Uint8Array,
  length: number,
): KnownRow {
  const label = labelSumsOf(path, key);
  const end = Math.max(0, length - 4);
  const { seal, entry } = sealedSumsOf(label, bytes, end);
  if (length < FIXED_BYTES + 4 || !isV2(bytes)) {
    return {
      row: decodeRow(path, bytes.subarray(0, length), "v2"),
      sum: entry,
      label,
    };
  }
  checkSeal(bytes, end, seal);
  return { row: decodeSealedRow(path, bytes, length), sum: entry, label };
}

/** The same without the checksum. */
export function decodeRowWithin(path: DepotPath, bytes: Uint8Array, length: number): Row {
  if (length < FIXED_BYTES + 4 || !isV2(bytes)) {
    return decodeRow(path, bytes.subarray(0, length), "v2");
  }
  checkSeal(bytes, length - 4, crc32cOf(path, bytes, length - 4));
  return decodeSealedRow(path, bytes, length);
}

/** @throws {FormatError} If the bytes are of a newer version, or not a row of this path. */
export function decodeRow(
  path: DepotPath,
  bytes: Uint8Array,
  accepted: AcceptedRows = "v2",
): Row {
  switch (versionOf(bytes, accepted)) {
    case "pre-magic":
      return readLegacy(bytes, MAGIC_BYTES, false);
    case "v0":
      return readLegacy(bytes, MAGIC_BYTES + 1, false);
    case "v1":
      return readLegacy(bytes, MAGIC_BYTES + 1, true);
    case "v2":
      if (bytes.length < FIXED_BYTES + 4) {
        throw new FormatError("damaged", "it is too short");
      }
      return decodeRowWithin(path, bytes, bytes.length);
  }
}

/**
 * Which layout the bytes have. A pre-magic row starts with its size where others have
 * their version, so the exact total length decides; no byte string fits two layouts,
 * because a key has no NUL and is shorter than 2^24 bytes.
 *
 * @throws {FormatError}
 */
export function versionOf(bytes: Uint8Array, accepted: AcceptedRows): RowVersion {
  const reader = new ByteReader(bytes);
  if (reader.latin1(MAGIC_BYTES) !== MAGIC) {
    throw new FormatError("damaged", `it does not begin with "${MAGIC}"`);
  }
  const version = reader.u8();
  if (accepted === "any") {
    if (version === 0 && fitsLegacy(bytes, MAGIC_BYTES + 1, 0)) return "v0";
    if (version === 1 && fitsLegacy(bytes, MAGIC_BYTES + 1, HASH_BYTES)) return "v1";
    if (fitsLegacy(bytes, MAGIC_BYTES, 0)) return "pre-magic";
  }
  if (version === 2) return "v2";
  if (version > 2) {
    throw new FormatError(
      "newer",
      `its version is ${version}, this build reads up to 2`,
    );
  }
  throw new FormatError("damaged", `a version ${version} row does not belong here`);
}

/** Without the checksum. */
function writeV2(path: DepotPath, row: Row): void {
  const { local, stored, queue } = row;
  assert((queue === null) === (row.state === "clean"), "A row is queued unless clean");
  assert(stored !== null || row.state !== "clean", "A clean row has a stored version");
  scratch.u32(MAGIC_U32);
  scratch.u8(2);
  scratch.u8(STATES.indexOf(row.state));
  scratch.u8(flagBitsOf(row));
  scratch.u8(layoutBitsOf(row));
  scratch.u64(local.sizeBytes);
  scratch.u64(row.lastAccessS);
  scratch.u64(row.createdAtS);
  scratch.u64(row.settledAtS);
  scratch.u64(row.generation);
  scratch.u64(row.id);
  scratch.bigI64(local.mtimeNs);
  scratch.bigI64(local.ctimeNs);
  scratch.bigU64(local.ino);
  scratch.bigU64(local.dev);
  scratch.u32(local.mode);
  scratch.u32(local.uid);
  scratch.u32(local.gid);
  if (queue !== null) writeQueue(queue);
  if (stored !== null) writeStored(scratch, path, { stored, local });
}

function flagBitsOf(row: Row): number {
  const { flags } = row;
  return (row.resident ? RESIDENT : 0) | (row.stored !== null ? HAS_STORED : 0) |
    (flags.foreign ? FOREIGN : 0) | (flags.conflict ? CONFLICT : 0) |
    (flags.borrowed ? BORROWED : 0) | (flags.secondaryOnly ? SECONDARY_ONLY : 0) |
    (flags.pinned ? PINNED : 0) | (row.tombstoned ? TOMBSTONED : 0);
}

function layoutBitsOf(row: Row): number {
  const { stored, queue } = row;
  let bits = queue !== null && queue.retryAtMs !== null ? HAS_RETRY : 0;
  if (row.flags.readOnce) bits |= READ_ONCE;
  return stored === null ? bits : bits | storedLayoutBitsOf(stored, row.local);
}

function writeQueue(queue: QueuePlace): void {
  scratch.u64(queue.sequence);
  scratch.u64(queue.dirtySinceMs);
  scratch.u64(queue.queuedAtMs);
  if (queue.retryAtMs !== null) scratch.u64(queue.retryAtMs);
}

function checkSeal(bytes: Uint8Array, end: number, seal: number): void {
  if (u32At(bytes, end) === seal) return;
  throw new FormatError("damaged", "its checksum does not match its path and bytes");
}

/**
 * The row in the first `length` of the bytes, of version 2 and with a checksum that was compared.
 *
 * @throws {FormatError} If it contradicts itself.
 */
export function decodeSealedRow(path: DepotPath, bytes: Uint8Array, length: number): Row {
  const reader = new ByteReader(bytes, length - 4);
  reader.position = MAGIC_BYTES + 1;
  const state = stateOf(reader.u8());
  const flagBits = reader.u8();
  const layoutBits = reader.u8();
  const sizeBytes = reader.u64();
  const lastAccessS = reader.u64();
  const createdAtS = reader.u64();
  const settledAtS = reader.u64();
  const generation = reader.u64();
  const id = reader.u64();
  const local = readLocal(reader, sizeBytes);
  const queue = state === "clean" ? null : readQueue(reader, layoutBits);
  const stored = (flagBits & HAS_STORED) === 0
    ? null
    : readStored(reader, path, { layoutBits, local });
  checkConsistent(reader, { state, stored, queue, layoutBits });
  return {
    state,
    resident: (flagBits & RESIDENT) !== 0,
    generation,
    local,
    lastAccessS,
    createdAtS,
    settledAtS,
    stored,
    flags: flagsOf(flagBits, layoutBits),
    id,
    queue,
    tombstoned: (flagBits & TOMBSTONED) !== 0,
  };
}

function readLocal(reader: ByteReader, sizeBytes: number): LocalStat {
  return {
    sizeBytes,
    mtimeNs: reader.bigI64(),
    ctimeNs: reader.bigI64(),
    ino: reader.bigU64(),
    dev: reader.bigU64(),
    mode: reader.u32(),
    uid: reader.u32(),
    gid: reader.u32(),
  };
}

function flagsOf(flagBits: number, layoutBits: number): FileFlags {
  return {
    foreign: (flagBits & FOREIGN) !== 0,
    conflict: (flagBits & CONFLICT) !== 0,
    borrowed: (flagBits & BORROWED) !== 0,
    secondaryOnly: (flagBits & SECONDARY_ONLY) !== 0,
    pinned: (flagBits & PINNED) !== 0,
    readOnce: (layoutBits & READ_ONCE) !== 0,
  };
}

function readQueue(reader: ByteReader, layoutBits: number): QueuePlace {
  return {
    sequence: reader.u64(),
    dirtySinceMs: reader.u64(),
    queuedAtMs: reader.u64(),
    retryAtMs: (layoutBits & HAS_RETRY) === 0 ? null : reader.u64(),
  };
}

function checkConsistent(
  reader: ByteReader,
  row: Pick<Row, "state" | "stored" | "queue"> & { layoutBits: number },
): void {
  const { layoutBits } = row;
  if (reader.left !== 0) {
    throw new FormatError("damaged", `${reader.left} bytes are left over`);
  }
  if ((layoutBits & ~LAYOUT_BITS) !== 0) {
    throw new FormatError("damaged", "unknown layout bits");
  }
  if (row.queue === null && (layoutBits & HAS_RETRY) !== 0) {
    throw new FormatError("damaged", "it is clean and has a retry deadline");
  }
  if (row.stored === null && (layoutBits & ~(HAS_RETRY | READ_ONCE)) !== 0) {
    throw new FormatError("damaged", "it has parts of a stored version");
  }
  if (row.stored === null && row.state === "clean") {
    throw new FormatError("damaged", "it is clean and names no object");
  }
}
