/**
 * Says how it goes: gauges and the metrics file, and the periodic line in the log.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Config } from "../config/key_table.ts";
import type { Engine } from "../engine/engine.ts";
import type { LicensePolicy } from "../license/policy.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import { writeMetricsFile } from "../obs/textfile.ts";
import { messageOf } from "./state_directory.ts";
import type { Stores } from "./stores.ts";

export interface ReporterDeps {
  readonly config: () => Config;
  readonly manifest: Manifest;
  readonly engine: Engine;
  readonly credentialEnds: Stores["credentialEnds"];
  readonly license: LicensePolicy;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Until the signal aborts; the file is written once more at the end. */
export async function reportMetrics(deps: ReporterDeps): Promise<void> {
  const { config, clock, signal, log, metrics } = deps;
  while (!signal.aborted) {
    await clock.sleep(config().metricsIntervalSecs * 1000, signal).catch(() => {});
    setGauges(deps);
    const { metricsFile } = config();
    if (metricsFile === null) continue;
    await writeMetricsFile(metricsFile, metrics).catch((error) => {
      log.warn(`cannot write metrics_file ${metricsFile}: ${messageOf(error)}`);
    });
  }
}

function setGauges(deps: ReporterDeps): void {
  const { manifest, engine, metrics, config, clock, credentialEnds, license } = deps;
  for (const store of ["primary", "secondary"] as const) {
    const endMs = credentialEnds[store];
    if (endMs === null) continue;
    const left = (endMs - clock.nowMs()) / 1000;
    metrics.set("p4cache_credentials_left_seconds", left, { store });
  }
  const counters = manifest.counters();
  const { cleanFiles, dirtyFiles, uploadingFiles } = counters;
  metrics.set("p4cache_files", cleanFiles, { state: "clean" });
  metrics.set("p4cache_files", dirtyFiles, { state: "dirty" });
  metrics.set("p4cache_files", uploadingFiles, { state: "uploading" });
  metrics.set("p4cache_files", cleanFiles + dirtyFiles + uploadingFiles, {
    state: "total",
  });
  metrics.set("p4cache_cache_bytes", counters.residentBytes);
  metrics.set("p4cache_cache_max_bytes", config().maxCacheBytes);
  metrics.set("p4cache_recalled_bytes_today", engine.recalledBytes);
  metrics.set("p4cache_recall_limit_bytes", config().recallMaxBytesPerDay);
  metrics.set("p4cache_read_once_bytes", counters.readOnceBytes);
  metrics.set("p4cache_eviction_missing_bytes", engine.evictionMissingBytes);
  metrics.set("p4cache_dirty_bytes", counters.dirtyBytes);
  metrics.set("p4cache_tombstones", counters.tombstones);
  metrics.set("p4cache_held_objects", engine.heldObjects);
  metrics.set("p4cache_all_objects_held", engine.whyAllAreHeld === null ? 0 : 1);
  metrics.set("p4cache_conflicts", counters.conflicts);
  metrics.set("p4cache_restore_waiting", engine.restoreWaitingCount);
  const oldestMs = manifest.oldestDirtyAtMs();
  const ageSecs = oldestMs === null ? 0 : Math.max(0, (clock.nowMs() - oldestMs) / 1000);
  metrics.set("p4cache_oldest_dirty_seconds", ageSecs);
  metrics.set("p4cache_license_managed_bytes", counters.totalBytes);
  metrics.set("p4cache_license_soft_ceiling_bytes", license.softCeilingBytes);
  metrics.set("p4cache_license_hard_ceiling_bytes", license.hardCeilingBytes);
}

/** Until the signal aborts. */
export async function logStats(deps: ReporterDeps): Promise<void> {
  const { config, clock, signal, log, manifest, engine } = deps;
  while (!signal.aborted) {
    const intervalSecs = config().statsIntervalSecs;
    await clock.sleep((intervalSecs || 60) * 1000, signal).catch(() => {});
    if (signal.aborted || intervalSecs === 0) continue;
    const { cleanFiles, dirtyFiles, uploadingFiles, residentBytes, dirtyBytes } = manifest
      .counters();
    log.info("stats", {
      clean: cleanFiles,
      dirty: dirtyFiles,
      uploading: uploadingFiles,
      cacheBytes: residentBytes,
      dirtyBytes,
      restoresWaiting: engine.restoreWaitingCount,
    });
  }
}
