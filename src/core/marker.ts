/**
 * How the size of an evicted file is kept in the atime of its marker.
 *
 * The atime holds 60 bits B = (size << 12) | check, with size < 2^48: seconds = B >> 29,
 * nanoseconds = B & (2^29 - 1). helpers/marker.h is the same in C, and says why; the golden
 * values stand in the tests of both.
 *
 * @module
 */

import { assert } from "./assert.ts";

const CHECK_BITS = 12n;
const NSEC_BITS = 29n;
const CHECK_MASK = (1n << CHECK_BITS) - 1n;
const NSEC_MASK = (1n << NSEC_BITS) - 1n;
const WORD_MASK = (1n << 64n) - 1n;
const SECONDS_MAX = (1n << 31n) - 1n;
const NS_PER_SECOND = 1_000_000_000n;

/** Largest size that a marker holds, 256 TiB - 1. A larger file is never evicted. */
export const MARKER_SIZE_BYTES_MAX = 2 ** 48 - 1;

/** The atime, in nanoseconds since the epoch, of the marker of a file of `sizeBytes`. */
export function encodeMarkerAtimeNs(sizeBytes: number): bigint {
  assert(
    Number.isInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= MARKER_SIZE_BYTES_MAX,
    `a marker cannot hold the size ${sizeBytes}`,
  );
  const size = BigInt(sizeBytes);
  const bits = (size << CHECK_BITS) | checkOf(size);
  return (bits >> NSEC_BITS) * NS_PER_SECOND + (bits & NSEC_MASK);
}

/** The size that a socket's atime tells; null when it is no marker's, or was touched. */
export function decodeMarkerAtimeNs(atimeNs: bigint): number | null {
  if (atimeNs < 0n) return null;
  const seconds = atimeNs / NS_PER_SECOND;
  const nanoseconds = atimeNs % NS_PER_SECOND;
  if (seconds > SECONDS_MAX || nanoseconds > NSEC_MASK) return null;
  const bits = (seconds << NSEC_BITS) | nanoseconds;
  const size = bits >> CHECK_BITS;
  return (bits & CHECK_MASK) === checkOf(size) ? Number(size) : null;
}

function checkOf(size: bigint): bigint {
  const z = ((size * 0x9E3779B97F4A7C15n) & WORD_MASK) ^ 0x7034n;
  return (z ^ (z >> 12n) ^ (z >> 24n) ^ (z >> 36n) ^ (z >> 48n)) & CHECK_MASK;
}
