/**
 * What `p4-cache status` shows: the daemon's own numbers at one moment.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import type { Clock } from "../core/clock.ts";
import type { Engine } from "../engine/engine.ts";
import type { EngineSettings } from "../engine/engine_context.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Metrics } from "../obs/metrics.ts";
import type { ControlAnswer } from "../wire/control.ts";
import type { WatcherState } from "./depot_watch.ts";
import type { Stores } from "./stores.ts";

/**
 * How much of the depot this daemon has compared with the manifest. unscanned: it does not,
 * or not yet. incomplete: the last scan could not look at everything, and is done again.
 * catching-up: the start skipped it, and a slow scan is under way. stopped: it
 * met something odd, which the log names.
 */
export type ScanState =
  | "unscanned"
  | "catching-up"
  | "scanning"
  | "scanned"
  | "incomplete"
  | "stopped";

export interface StatusFacts {
  readonly version: string;
  readonly config: Config;
  readonly settings: EngineSettings;
  readonly manifest: Manifest;
  readonly engine: Engine;
  readonly credentialEnds: Stores["credentialEnds"];
  readonly clock: Clock;
  readonly startedMs: number;
  readonly freeBytes: number;
  readonly scan: ScanState;
  /** Null: nobody watches. */
  readonly watcher: WatcherState | null;
  readonly scanDue: boolean;
  readonly watcherRestarts: number;
  readonly gateRestarts: number;
  readonly metrics: Metrics;
}

/** Flat, with the names that docs/cli.md promises. */
export function statusOf(facts: StatusFacts): ControlAnswer {
  const { manifest, settings, engine, clock, config } = facts;
  const counters = manifest.counters();
  const nowMs = clock.nowMs();
  const files = counters.cleanFiles + counters.dirtyFiles + counters.uploadingFiles;
  const oldestMs = manifest.oldestDirtyAtMs();
  const retryMs = manifest.nextRetryAtMs();
  const scannedMs = manifest.meta("scan_finished_ms");
  return {
    version: facts.version,
    pid: Deno.pid,
    uptimeSecs: secondsOf(clock.monotonicMs() - facts.startedMs),
    depot: config.depotPath,
    readOnly: settings.readOnly,
    files,
    totalBytes: counters.totalBytes,
    residentFiles: counters.residentFiles,
    residentBytes: counters.residentBytes,
    evictedFiles: files - counters.residentFiles,
    maxCacheBytes: settings.maxCacheBytes,
    lowWatermarkBytes: settings.lowWatermarkBytes,
    freeBytes: facts.freeBytes,
    minFreeBytes: settings.minFreeBytes,
    evictionMissingBytes: engine.evictionMissingBytes,
    dirtyFiles: counters.dirtyFiles,
    dirtyBytes: counters.dirtyBytes,
    uploadingFiles: counters.uploadingFiles,
    oldestDirtySecs: oldestMs === null ? null : secondsOf(nowMs - oldestMs),
    retryingFiles: manifest.retryCount(),
    nextRetrySecs: retryMs === null ? null : secondsOf(retryMs - nowMs),
    undecidedFiles: counters.conflicts,
    lostFiles: facts.metrics.counted("p4cache_lost_files_total"),
    corruptReads: facts.metrics.counted("p4cache_shim_requests_total", {
      op: "FETCH",
      code: "CORRUPT",
    }),
    tombstones: counters.tombstones,
    heldObjects: engine.heldObjects,
    allHeldBecause: engine.whyAllAreHeld?.slice(0, 400) ?? null,
    restoresWaiting: engine.restoreWaitingCount,
    primaryCredentialsEndMs: facts.credentialEnds.primary,
    secondaryCredentialsEndMs: facts.credentialEnds.secondary,
    scan: facts.scan,
    scannedAtMs: scannedMs === null ? null : Number(scannedMs),
    watcher: facts.watcher,
    scanDue: facts.scanDue,
    watcherRestarts: facts.watcherRestarts,
    gateRestarts: facts.gateRestarts,
    manifestTrouble: manifest.trouble()?.error.message.slice(0, 400) ?? null,
  };
}

function secondsOf(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}
