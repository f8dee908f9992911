/**
 * Binary form of one tombstone. Pure. Little-endian:
 *
 *     offset  size  field
 *          0     4  magic "P4TS"
 *          4     1  version, 1
 *          5     1  reason: 0 deleted, 1 replaced
 *          6     1  bit 0 whiteout, 1 object removed, 2 borrowed, 3 secondary only
 *          7     1  bit 0 hash is there, 1 version id is there
 *          8     8  made at, ms
 *         16     8  tombstone id
 *         24     8  local size                     48     8  local inode
 *         32     8  local mtime, ns, i64           56     8  local device
 *         40     8  local ctime, ns, i64           64    12  mode, uid, gid
 *         76     8  stored size
 *         84     8  stored mtime, ns, i64
 *         92        [hash 32] length u16, key as UTF-8 [length u16, version id as UTF-8]
 *       last     4  CRC-32C of the path's bytes and all bytes before
 *
 * @module
 */

import { type DepotPath, objectKeyOf } from "../core/names.ts";
import { ByteReader, ByteWriter } from "./byte_cursor.ts";
import { crc32cOf } from "./crc32c.ts";
import { textOf, utf8Of } from "./codec_text.ts";
import { FormatError } from "./format_error.ts";
import type { Tombstone } from "./manifest.ts";

const MAGIC = "P4TS";
const HASH_BYTES = 32;
const WHITEOUT = 1;
const REMOVED = 2;
const BORROWED = 4;
const SECONDARY_ONLY = 8;
const HAS_HASH = 1;
const HAS_VERSION_ID = 2;
const TOMBSTONE_BYTES_MAX = 16_384;

const scratch = new ByteWriter(TOMBSTONE_BYTES_MAX);

export function encodeTombstone(tombstone: Tombstone): Uint8Array<ArrayBuffer> {
  const { local, stored } = tombstone;
  scratch.position = 0;
  scratch.latin1(MAGIC);
  scratch.u8(1);
  scratch.u8(tombstone.reason === "deleted" ? 0 : 1);
  scratch.u8(
    (tombstone.whiteout ? WHITEOUT : 0) | (tombstone.removed ? REMOVED : 0) |
      (tombstone.borrowed ? BORROWED : 0) |
      (tombstone.secondaryOnly ? SECONDARY_ONLY : 0),
  );
  scratch.u8(
    (stored.hash !== null ? HAS_HASH : 0) |
      (stored.versionId !== null ? HAS_VERSION_ID : 0),
  );
  scratch.u64(tombstone.atMs);
  scratch.u64(tombstone.id);
  scratch.u64(local.sizeBytes);
  scratch.bigI64(local.mtimeNs);
  scratch.bigI64(local.ctimeNs);
  scratch.bigU64(local.ino);
  scratch.bigU64(local.dev);
  scratch.u32(local.mode);
  scratch.u32(local.uid);
  scratch.u32(local.gid);
  scratch.u64(stored.sizeBytes);
  scratch.bigI64(stored.mtimeNs);
  if (stored.hash !== null) scratch.hex(stored.hash);
  writeText(stored.key);
  if (stored.versionId !== null) writeText(stored.versionId);
  scratch.u32(crc32cOf(tombstone.path, scratch.bytes, scratch.position));
  return scratch.finish();
}

function writeText(text: string): void {
  const bytes = utf8Of(text);
  scratch.u16(bytes.length);
  scratch.latin1(bytes);
}

/** @throws {FormatError} If the bytes are of a newer version, or no tombstone of `path`. */
export function decodeTombstone(path: DepotPath, bytes: Uint8Array): Tombstone {
  const end = bytes.length - 4;
  if (end < 8) throw new FormatError("damaged", "it is too short");
  const reader = new ByteReader(bytes, end);
  if (reader.latin1(4) !== MAGIC) {
    throw new FormatError("damaged", `it does not begin with "${MAGIC}"`);
  }
  const version = reader.u8();
  if (version > 1) {
    throw new FormatError(
      "newer",
      `its version is ${version}, this build reads up to 1`,
    );
  }
  const crc = new DataView(bytes.buffer, bytes.byteOffset + end, 4).getUint32(0, true);
  if (version !== 1 || crc !== crc32cOf(path, bytes, end)) {
    throw new FormatError("damaged", "its checksum does not match its path and bytes");
  }
  const tombstone = readFields(path, reader);
  if (reader.left !== 0) throw new FormatError("damaged", "bytes are left over");
  return tombstone;
}

function readFields(path: DepotPath, reader: ByteReader): Tombstone {
  const reason = reader.u8() === 0 ? "deleted" : "replaced";
  const bits = reader.u8();
  const layoutBits = reader.u8();
  const atMs = reader.u64();
  const id = reader.u64();
  const local = {
    sizeBytes: reader.u64(),
    mtimeNs: reader.bigI64(),
    ctimeNs: reader.bigI64(),
    ino: reader.bigU64(),
    dev: reader.bigU64(),
    mode: reader.u32(),
    uid: reader.u32(),
    gid: reader.u32(),
  };
  const sizeBytes = reader.u64();
  const mtimeNs = reader.bigI64();
  const hash = (layoutBits & HAS_HASH) === 0 ? null : reader.hex(HASH_BYTES);
  const key = objectKeyOf(textOf(reader.latin1(reader.u16())));
  const versionId = (layoutBits & HAS_VERSION_ID) === 0
    ? null
    : textOf(reader.latin1(reader.u16()));
  return {
    id,
    path,
    reason,
    atMs,
    local,
    stored: { key, hash, sizeBytes, mtimeNs, versionId },
    whiteout: (bits & WHITEOUT) !== 0,
    removed: (bits & REMOVED) !== 0,
    borrowed: (bits & BORROWED) !== 0,
    secondaryOnly: (bits & SECONDARY_ONLY) !== 0,
  };
}
