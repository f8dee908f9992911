/**
 * How much to evict, and which rows may go. Pure.
 *
 * Files that were restored after a long rest and read once since (a `p4 verify`, a virus
 * scan, a backup) go before all others, and as long as they alone bring the cache over its
 * limit, they take a tenth of it at most from the others: the part that a new working set
 * needs to be read a second time in.
 *
 * @module
 */

import type { FileEntry, ManifestCounters } from "../manifest/manifest.ts";
import { isEvictable } from "../manifest/transitions.ts";

export interface EvictLimits {
  /** 0: no limit. */
  readonly maxCacheBytes: number;
  readonly lowWatermarkBytes: number;
  readonly minFreeBytes: number;
  readonly evictMinAgeSecs: number;
}

/** What one pass is to free. */
export interface EvictPlan {
  readonly bytes: number;
  /** So many of them at most from files that are not read once. */
  readonly ofOthersBytes: number;
}

type Sizes = Pick<ManifestCounters, "residentBytes" | "readOnceBytes">;

/** What is kept for others while files that were read once come and go. */
const OTHERS_SHARE = 0.9;

/** What those are brought down to: below their tenth, so that not each of them is a pass. */
const READ_ONCE_SHARE = 0.09;

/**
 * What to evict now. Over `maxCacheBytes` the cache is brought down to
 * max(1, 90 % of the low watermark); too little free space asks for the difference.
 *
 * @param freeBytes Free on the depot's disk, less what restores have reserved or wait for.
 */
export function planEviction(
  limits: EvictLimits,
  sizes: Sizes,
  freeBytes: number,
): EvictPlan {
  const over = planOverLimit(limits, sizes);
  const missingBytes = Math.max(0, limits.minFreeBytes - freeBytes);
  return {
    bytes: Math.max(over.bytes, missingBytes),
    ofOthersBytes: Math.max(over.ofOthersBytes, missingBytes),
  };
}

function planOverLimit(
  { maxCacheBytes, lowWatermarkBytes }: EvictLimits,
  { residentBytes, readOnceBytes }: Sizes,
): EvictPlan {
  if (maxCacheBytes === 0 || residentBytes <= maxCacheBytes) {
    return { bytes: 0, ofOthersBytes: 0 };
  }
  const targetBytes = Math.max(1, Math.floor(lowWatermarkBytes * 0.9));
  const othersBytes = residentBytes - readOnceBytes;
  if (othersBytes > maxCacheBytes) {
    const bytes = residentBytes - targetBytes;
    return { bytes, ofOthersBytes: bytes };
  }
  const othersKept = Math.min(othersBytes, Math.floor(maxCacheBytes * OTHERS_SHARE));
  const readOnceKept = Math.max(
    targetBytes - othersKept,
    Math.floor(maxCacheBytes * READ_ONCE_SHARE),
  );
  return {
    bytes: Math.max(0, residentBytes - othersKept - readOnceKept),
    ofOthersBytes: othersBytes - othersKept,
  };
}

/** When the row may be evicted by its age, in seconds since the epoch; null if never now. */
export function evictableFromS(
  entry: FileEntry,
  { evictMinAgeSecs }: Pick<EvictLimits, "evictMinAgeSecs">,
  nowS: number,
): number | null {
  return isEvictable(entry) ? agedAtS(entry, evictMinAgeSecs, nowS) : null;
}

/**
 * When the file has been as it is for `ageSecs`. A time that lies far in the future is of a
 * clock that was set back since: it says nothing of the age, and may not keep the file until
 * that clock's time comes.
 */
export function agedAtS(
  { settledAtS }: Pick<FileEntry, "settledAtS">,
  ageSecs: number,
  nowS: number,
): number {
  const isOfOtherClock = settledAtS > nowS + ageSecs;
  return isOfOtherClock ? nowS : settledAtS + ageSecs;
}
