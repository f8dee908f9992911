/**
 * Which ranges a download is cut into, and which parts an upload. Pure.
 *
 * @module
 */

import { assert } from "../core/assert.ts";

/** Bytes `start` to `end`, the latter not included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Consecutive ranges of `rangeBytes` that cover `totalBytes`; the last may be shorter. */
export function planRanges(totalBytes: number, rangeBytes: number): ByteRange[] {
  assert(rangeBytes >= 1, `ranges of ${rangeBytes} bytes`);
  const ranges: ByteRange[] = [];
  for (let start = 0; start < totalBytes; start += rangeBytes) {
    ranges.push({ start, end: Math.min(totalBytes, start + rangeBytes) });
  }
  return ranges;
}

/** What a store allows of an object that is uploaded in parts. */
export interface PartLimits {
  readonly partBytesMin: number;
  readonly partBytesMax: number;
  readonly partsMax: number;
}

/**
 * The size of each part but the last: `preferredBytes` where the parts suffice, else the
 * smallest multiple of 1 MiB (Google wants multiples of 256 KiB) with which they do. Null
 * if the object is too large for the store.
 */
export function planPartBytes(
  totalBytes: number,
  preferredBytes: number,
  limits: PartLimits,
): number | null {
  const step = 1_048_576;
  const needed = Math.ceil(totalBytes / limits.partsMax / step) * step;
  const partBytes = Math.max(preferredBytes, needed, limits.partBytesMin);
  return partBytes <= limits.partBytesMax ? partBytes : null;
}
