/**
 * The manifest's own numbers: the counters that everybody sees, and the next of each
 * sequence. Kept in the table `meta` as one value, written in the transaction that
 * changes them.
 *
 * @module
 */

import { textOfBytes } from "../core/names.ts";
import { ByteWriter } from "./byte_cursor.ts";
import { crc32cOf } from "./crc32c.ts";
import { textOf, utf8Of } from "./codec_text.ts";
import { FormatError } from "./format_error.ts";
import type { ManifestCounters } from "./manifest.ts";

/**
 * Sums, modulo 2^48, of the checksums of all entries. A page that fell back to what it was before is
 * sound by itself; this is what gives it away. Builds that know no `rows_by_id` compare the first
 * with what they find: it agrees, so that they say of a manifest that it is newer, not damaged.
 */
export interface Sums {
  /** Of all tables but `meta` and `rows_by_id`. */
  readonly contentSum: number;
  /** Of `rows_by_id`. Manifests of before have both in the other one: only together they tell. */
  readonly rowsSum: number;
}

export interface Ledger extends ManifestCounters, Sums {
  readonly nextRowId: number;
  readonly nextSequence: number;
  readonly nextTombstoneId: number;
  /** No row that went had a greater generation. */
  readonly generationFloor: number;
}

const CONTENT_SUM_MODULUS = 2 ** 48;

/** `sum` with the checksum `before` replaced by `now`. */
export function replaceInSum(sum: number, before: number, now: number): number {
  const changed = sum - before + now;
  // Not with %, which takes many times as long for numbers of this size.
  if (changed < 0) return changed + CONTENT_SUM_MODULUS;
  return changed < CONTENT_SUM_MODULUS ? changed : changed - CONTENT_SUM_MODULUS;
}

export const EMPTY_LEDGER: Ledger = {
  cleanFiles: 0,
  dirtyFiles: 0,
  uploadingFiles: 0,
  residentFiles: 0,
  residentBytes: 0,
  readOnceBytes: 0,
  dirtyBytes: 0,
  totalBytes: 0,
  tombstones: 0,
  conflicts: 0,
  nextRowId: 1,
  nextSequence: 1,
  nextTombstoneId: 1,
  generationFloor: 0,
  contentSum: 0,
  rowsSum: 0,
};

/** Of all tables but `meta`. */
export function wholeSumOf({ contentSum, rowsSum }: Sums): number {
  return replaceInSum(contentSum, 0, rowsSum);
}

const NAMES = Object.keys(EMPTY_LEDGER) as (keyof Ledger)[];

export function encodeLedger(ledger: Ledger): string {
  return JSON.stringify(ledger);
}

/** @throws {FormatError} */
export function decodeLedger(text: string): Ledger {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null) {
    throw new FormatError("damaged", "the counters are no object");
  }
  // Manifests of before have no such row, and no such counters.
  const values: Record<string, unknown> = { readOnceBytes: 0, rowsSum: 0, ...parsed };
  for (const name of NAMES) {
    const value = values[name];
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw new FormatError("damaged", `the counter ${name} is ${value}`);
    }
  }
  return values as unknown as Ledger;
}

/** `text` as the value of `name` in the table `meta`: UTF-8, then CRC-32C with the name. */
export function encodeMeta(name: string, text: string): Uint8Array<ArrayBuffer> {
  const bytes = utf8Of(text);
  const writer = new ByteWriter(bytes.length + 4);
  writer.latin1(bytes);
  writer.u32(crc32cOf(name, writer.bytes, writer.position));
  return writer.bytes;
}

/** @throws {FormatError} */
export function decodeMeta(name: string, value: Uint8Array): string {
  const end = value.length - 4;
  if (end < 0) throw new FormatError("damaged", "it is too short");
  const crc = new DataView(value.buffer, value.byteOffset + end, 4).getUint32(0, true);
  if (crc !== crc32cOf(name, value, end)) {
    throw new FormatError("damaged", "its checksum does not match");
  }
  return textOf(textOfBytes(value.subarray(0, end)));
}
