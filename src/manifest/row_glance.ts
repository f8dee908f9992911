/**
 * What a row of version 2 says, read where it stands and without its checksum, for answers
 * that are wanted for every file there is. The layout is that of file_entry_codec.ts.
 *
 * @module
 */

import { MAGIC_BYTES, stateOf } from "./legacy_row_codec.ts";
import type { Glance, LocalStat } from "./manifest.ts";
import { asUnproven } from "./unproven.ts";

/** "P4FE" as a little-endian u32. */
export const MAGIC_U32 = 0x45463450;
export const FIXED_BYTES = 100;
/** Of the flags in byte 6. */
export const RESIDENT = 1;

const word = new BigInt64Array(1);
const halves = new Uint32Array(word.buffer);

/** A word of a row is compared in halves: a BigInt for each would be an allocation. */
function isWordAt(bytes: Uint8Array, at: number, value: bigint): boolean {
  word[0] = BigInt.asIntN(64, value);
  return u32At(bytes, at) === halves[0] && u32At(bytes, at + 4) === halves[1];
}

export function u32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 |
    bytes[at + 3]! << 24) >>>
    0;
}

/** Whether it is of version 2, and of at least the fixed part. The checksum is not looked at. */
export function isV2(bytes: Uint8Array): boolean {
  return bytes.length >= FIXED_BYTES + 4 && u32At(bytes, 0) === MAGIC_U32 &&
    bytes[MAGIC_BYTES] === 2;
}

/**
 * What the row says of `stat`: of a file, or, with `isMarker`, of a marker with the size that it
 * says. That is the row's if it has the row's time, or is known by its inode.
 */
export function glanceAt(bytes: Uint8Array, stat: LocalStat, isMarker = false): Glance {
  if (!isV2(bytes)) return "other";
  const isResident = (bytes[6]! & RESIDENT) !== 0;
  const isOfSize = u32At(bytes, 8) + u32At(bytes, 12) * 2 ** 32 === stat.sizeBytes;
  const isOfTime = isWordAt(bytes, 56, stat.mtimeNs);
  const isOfInode = isWordAt(bytes, 72, stat.ino);
  if (isMarker) {
    const isEvicted = !isResident && stateOf(bytes[5]!) === "clean";
    return isEvicted && isOfSize && (isOfTime || isOfInode) ? "known" : "other";
  }
  if (!isResident || !isOfSize || !isOfTime || !isOfInode) return "other";
  if (isWordAt(bytes, 64, stat.ctimeNs)) return "known";
  return isWordAt(bytes, 64, asUnproven(stat).ctimeNs) ? "unproven" : "other";
}
