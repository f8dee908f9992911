/**
 * The part of a row of version 2 that says what the store has. `file_entry_codec.ts` has the
 * table of the layout.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import { type DepotPath, type ObjectKey, objectKeyOf } from "../core/names.ts";
import type { ByteReader, ByteWriter } from "./byte_cursor.ts";
import { textOf, utf8Of } from "./codec_text.ts";
import { FormatError } from "./format_error.ts";
import { HASH_BYTES } from "./legacy_row_codec.ts";
import type { LocalStat, StoredVersion } from "./manifest.ts";

/** Bits of the layout, in byte 7 of the row. */
const HAS_HASH = 1;
const SAME_AS_LOCAL = 2;
const HAS_VERSION_ID = 4;
export const STORED_LAYOUT_BITS = HAS_HASH | SAME_AS_LOCAL | HAS_VERSION_ID;

/** Whether size and mtime are those of the local file, and so are not repeated. */
export function sharesLocal(stored: StoredVersion, local: LocalStat): boolean {
  return stored.sizeBytes === local.sizeBytes && stored.mtimeNs === local.mtimeNs;
}

export function storedLayoutBitsOf(stored: StoredVersion, local: LocalStat): number {
  return (stored.hash !== null ? HAS_HASH : 0) |
    (sharesLocal(stored, local) ? SAME_AS_LOCAL : 0) |
    (stored.versionId !== null ? HAS_VERSION_ID : 0);
}

/** With the layout of {@linkcode storedLayoutBitsOf}. */
export function writeStored(
  writer: ByteWriter,
  path: DepotPath,
  { stored, local }: { readonly stored: StoredVersion; readonly local: LocalStat },
): void {
  if (stored.hash !== null) {
    assert(stored.hash.length === 2 * HASH_BYTES, `Not a hash: ${stored.hash}`);
    writer.hex(stored.hash);
  }
  if (!sharesLocal(stored, local)) {
    writer.u64(stored.sizeBytes);
    writer.bigI64(stored.mtimeNs);
  }
  writeKey(writer, path, stored.key);
  if (stored.versionId !== null) writeText(writer, stored.versionId);
}

/** Most keys are the path itself, or begin with it. */
function writeKey(writer: ByteWriter, path: DepotPath, key: ObjectKey): void {
  assert(key !== "", "An object key is not empty");
  const bytes = utf8Of(key);
  const shared = bytes === path ? path.length : sharedLength(bytes, path);
  writer.u16(shared);
  writer.u16(bytes.length - shared);
  if (shared < bytes.length) writer.latin1(bytes.slice(shared));
}

function sharedLength(a: string, b: string): number {
  let shared = 0;
  while (
    shared < a.length && shared < b.length &&
    a.charCodeAt(shared) === b.charCodeAt(shared)
  ) shared++;
  return shared;
}

function writeText(writer: ByteWriter, text: string): void {
  const bytes = utf8Of(text);
  writer.u16(bytes.length);
  writer.latin1(bytes);
}

/** @throws {FormatError} */
export function readStored(
  reader: ByteReader,
  path: DepotPath,
  { layoutBits, local }: { readonly layoutBits: number; readonly local: LocalStat },
): StoredVersion {
  const hash = (layoutBits & HAS_HASH) === 0 ? null : reader.hex(HASH_BYTES);
  const shares = (layoutBits & SAME_AS_LOCAL) !== 0;
  const sizeBytes = shares ? local.sizeBytes : reader.u64();
  const mtimeNs = shares ? local.mtimeNs : reader.bigI64();
  const shared = reader.u16();
  if (shared > path.length) {
    throw new FormatError("damaged", "its key shares more than the path has");
  }
  const rest = reader.u16();
  // Nearly always the path itself, which costs no copy.
  const isPath = rest === 0 && shared === path.length;
  const key = textOf(isPath ? path : path.slice(0, shared) + reader.latin1(rest));
  if (key === "") throw new FormatError("damaged", "its key is empty");
  const versionId = (layoutBits & HAS_VERSION_ID) === 0
    ? null
    : textOf(reader.latin1(reader.u16()));
  return { key: objectKeyOf(key), hash, sizeBytes, mtimeNs, versionId };
}
