/**
 * The engine's settings, from the configuration and what only the machine knows.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import type { EngineSettings } from "../engine/engine_context.ts";

const GIB = 2 ** 30;

/** @param diskBytes Size of the depot's file system, for the default of min_free_bytes. */
export function engineSettingsOf(config: Config, diskBytes: number): EngineSettings {
  const own = [0, Deno.uid() ?? 0];
  return {
    manage: config.manage,
    readOnly: config.readOnly,
    maxCacheBytes: config.maxCacheBytes,
    lowWatermarkBytes: config.lowWatermarkBytes,
    minFreeBytes: config.minFreeBytes ?? Math.max(Math.floor(diskBytes / 20), 10 * GIB),
    evictMinAgeSecs: config.evictMinAgeSecs,
    evictVerify: config.evictVerify,
    uploadThreads: config.uploadThreads,
    uploadSettleMs: config.uploadSettleMs,
    restoreThreads: config.restoreThreads,
    slowRetrySecs: config.slowRetrySecs,
    enforceContentHash: config.enforceContentHash,
    storeLookupOnMiss: config.storeLookupOnMiss ??
      (config.readOnly || config.readPrefixes.length > 0),
    deleteGraceSecs: config.deleteGraceSecs,
    deleteMaxPerHour: config.deleteMaxPerHour,
    borrowedTtlSecs: config.borrowedTtlSecs,
    recallMaxBytesPerDay: config.recallMaxBytesPerDay,
    recallUidSharePercent: config.recallUidSharePercent,
    watcherAllowedUids: new Set([...own, ...config.watcherAllowedUids]),
  };
}

/** Peers of the gate: the daemon's own user and root, and whom the configuration adds. */
export function shimUidsOf(config: Config): number[] {
  return [...new Set([0, Deno.uid() ?? 0, ...config.shimAllowedUids])];
}
