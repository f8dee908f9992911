/**
 * Uploads everything while no daemon runs: before a store is switched on, before a move to
 * another machine. It takes the daemon's place, lock and all, but serves nobody, evicts
 * nothing and removes nothing.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import type { Config } from "../config/key_table.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import type { EngineContext } from "../engine/engine_context.ts";
import { scanDepot } from "../engine/scan.ts";
import { UploadCoordinator } from "../engine/upload_coordinator.ts";
import { developmentLicense } from "../license/policy.ts";
import type { ManifestCounters } from "../manifest/manifest.ts";
import type { OpenLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import {
  FAILED_OPS,
  type Foundation,
  newId,
  openFailureLedger,
  openFoundation,
  readBootId,
  settleDepot,
} from "./foundation.ts";
import { engineSettingsOf } from "./settings.ts";
import { EXIT, StartError } from "./start_error.ts";
import { openStores, type Stores } from "./stores.ts";

const LOOK_MS = 100;

export interface Prestage {
  readonly config: Config;
  readonly version: string;
  readonly log: OpenLogger;
  /** Only compares the depot with the manifest; what that shows is remembered. */
  readonly dryRun: boolean;
  readonly onProgress: (progress: PrestageProgress) => void;
  readonly signal: AbortSignal;
}

export interface PrestageProgress {
  readonly phase: "scan" | "upload";
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface PrestageReport {
  readonly files: number;
  readonly totalBytes: number;
  readonly uploadedBytes: number;
  /** Left: their upload failed, and p4-cache-failed-uploads.log says why. */
  readonly dirtyFiles: number;
  readonly dirtyBytes: number;
  /** Left: in conflict or foreign. */
  readonly undecidedFiles: number;
}

/** @throws {StartError} Also while a daemon has the depot. */
export async function runPrestage(prestage: Prestage): Promise<PrestageReport> {
  const { config, log, version } = prestage;
  if (config.readOnly) {
    throw new StartError(EXIT.configuration, "read_only is set: nothing may be uploaded");
  }
  await using cleanup = new AsyncDisposableStack();
  const foundation = await openFoundation(config, log, cleanup);
  const license = developmentLicense();
  const metrics = createMetrics();
  const stores = await openStores({
    config: () => config,
    clock: SYSTEM_CLOCK,
    log,
    metrics,
    watermark: license.watermark,
    userAgent: `p4-cache/${version}`,
  });
  cleanup.defer(() => stores.primary.close());
  cleanup.defer(() => stores.secondary?.close());
  await settleDepot(foundation, stores.primary, config);
  const ended = new AbortController();
  const context: EngineContext = {
    ...contextOf(foundation, stores, config),
    metrics,
    refuseUpload: () => {
      const answer = license.mayUpload(foundation.manifest.counters().totalBytes);
      return answer.allowed ? null : answer.why;
    },
    signal: AbortSignal.any([prestage.signal, ended.signal]),
  };
  await compare(context, prestage);
  return await uploadAll(context, prestage, ended);
}

function contextOf(
  foundation: Foundation,
  { primary, secondary }: Stores,
  config: Config,
): Omit<EngineContext, "metrics" | "refuseUpload" | "signal"> {
  const { state, posix, manifest, log } = foundation;
  const settings = engineSettingsOf(config, posix.statvfs(state.root).totalBytes);
  const ledger = (name: string): EngineContext["failedOps"] =>
    openFailureLedger(foundation, name, config.failedLogRotateMaxMb);
  return {
    root: state.root,
    device: state.device,
    posix,
    manifest,
    primary,
    secondary,
    settings: () => settings,
    locks: new KeyedLock(),
    // Nobody watches: the scan is all that is known.
    eventsUntilNow: () => Promise.resolve(),
    clock: SYSTEM_CLOCK,
    newId,
    log: log.child({ module: "engine" }),
    failedOps: ledger(FAILED_OPS),
    failedUploads: ledger("p4-cache-failed-uploads.log"),
  };
}

/** The same look as the daemon's first: what differs after a power cut is a conflict. */
async function compare(context: EngineContext, { onProgress }: Prestage): Promise<void> {
  const { manifest } = context;
  onProgress({ phase: "scan", doneBytes: 0, totalBytes: 0 });
  const bootId = await readBootId();
  const trustsDifference = manifest.meta("boot_id") === bootId;
  const report = await scanDepot(context, { source: "scan", trustsDifference });
  if (report.stopped !== null) throw new StartError(EXIT.incomplete, report.stopped);
  await manifest.setMeta("boot_id", bootId);
  await manifest.setMeta("scan_finished_ms", String(context.clock.nowMs()));
}

async function uploadAll(
  context: EngineContext,
  { dryRun, onProgress, signal }: Prestage,
  ended: AbortController,
): Promise<PrestageReport> {
  const { manifest, clock } = context;
  const before = manifest.counters();
  if (dryRun) return reportOf(before, before);
  await manifest.retryNow();
  const coordinator = new UploadCoordinator(context, () => {});
  const running = coordinator.run();
  try {
    while (!isIdle(context)) {
      await clock.sleep(LOOK_MS, signal);
      const { dirtyBytes } = manifest.counters();
      onProgress({
        phase: "upload",
        doneBytes: Math.max(0, before.dirtyBytes - dirtyBytes),
        totalBytes: before.dirtyBytes,
      });
    }
  } finally {
    ended.abort();
    await running;
    await context.locks.idle();
  }
  return reportOf(before, manifest.counters());
}

/** Nothing is under way, and what is left waits for a retry or for a decision. */
function isIdle({ manifest, clock }: EngineContext): boolean {
  return manifest.counters().uploadingFiles === 0 &&
    manifest.dirtyDue(clock.nowMs(), 1).length === 0;
}

function reportOf(before: ManifestCounters, after: ManifestCounters): PrestageReport {
  return {
    files: after.cleanFiles + after.dirtyFiles + after.uploadingFiles,
    totalBytes: after.totalBytes,
    uploadedBytes: Math.max(0, before.dirtyBytes - after.dirtyBytes),
    dirtyFiles: after.dirtyFiles + after.uploadingFiles,
    dirtyBytes: after.dirtyBytes,
    undecidedFiles: after.conflicts,
  };
}
