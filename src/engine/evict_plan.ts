/**
 * How much to evict, and which rows may go. Pure.
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

/**
 * Bytes to evict now. Over `maxCacheBytes` the cache is brought down to
 * max(1, 90 % of the low watermark); too little free space asks for the difference.
 *
 * @param freeBytes Free on the depot's disk, less what restores have reserved.
 */
export function planEvictBytes(
  limits: EvictLimits,
  counters: Pick<ManifestCounters, "residentBytes">,
  freeBytes: number,
): number {
  const { maxCacheBytes, lowWatermarkBytes, minFreeBytes } = limits;
  const targetBytes = Math.max(1, Math.floor(lowWatermarkBytes * 0.9));
  const overBytes = maxCacheBytes > 0 && counters.residentBytes > maxCacheBytes
    ? counters.residentBytes - targetBytes
    : 0;
  return Math.max(0, overBytes, minFreeBytes - freeBytes);
}

/** When the row may be evicted by its age, in seconds since the epoch; null if never now. */
export function evictableFromS(
  entry: FileEntry,
  limits: Pick<EvictLimits, "evictMinAgeSecs">,
): number | null {
  if (!isEvictable(entry)) return null;
  return entry.settledAtS + limits.evictMinAgeSecs;
}
