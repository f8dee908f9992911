/**
 * Uploads everything while no daemon runs: before a store is switched on, before a move to
 * another machine. It takes the daemon's place, lock and all, but serves nobody, evicts
 * nothing and removes nothing.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import type { EngineContext } from "../engine/engine_context.ts";
import { SCAN } from "../engine/observe.ts";
import { scanDepot } from "../engine/scan.ts";
import { UploadCoordinator } from "../engine/upload_coordinator.ts";
import type { ManifestCounters } from "../manifest/manifest.ts";
import type { OpenLogger } from "../obs/logger.ts";
import type { ScanRecord } from "./scan_record.ts";
import { openStandIn } from "./stand_in.ts";
import { EXIT, StartError } from "./start_error.ts";

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
  /** Nobody knows whether they are what the store has: see the log. */
  readonly unprovenFiles: number;
}

/** @throws {StartError} Also while a daemon has the depot. */
export async function runPrestage(prestage: Prestage): Promise<PrestageReport> {
  const { config, log, version } = prestage;
  if (config.readOnly) {
    throw new StartError(EXIT.configuration, "read_only is set: nothing may be uploaded");
  }
  await using cleanup = new AsyncDisposableStack();
  const ended = new AbortController();
  const signal = AbortSignal.any([prestage.signal, ended.signal]);
  const { context, record } = await openStandIn(
    { config, log, version, signal },
    cleanup,
  );
  const unprovenFiles = await compare(context, record, prestage);
  return { ...await uploadAll(context, prestage, ended), unprovenFiles };
}

/**
 * The same look as the daemon's first: what differs after a power cut is a conflict. But all is
 * hashed where only that tells. Resolves with how many files stay unproven.
 */
async function compare(
  context: EngineContext,
  record: ScanRecord,
  { dryRun, onProgress }: Prestage,
): Promise<number> {
  onProgress({ phase: "scan", doneBytes: 0, totalBytes: 0 });
  let doneBytes = 0;
  const mayHash = (sizeBytes: number): boolean => {
    if (dryRun) return false;
    doneBytes += sizeBytes;
    onProgress({ phase: "scan", doneBytes, totalBytes: 0 });
    return true;
  };
  const report = await scanDepot(context, { ...SCAN, mayHash });
  if (report.stopped !== null) throw new StartError(EXIT.incomplete, report.stopped);
  if (!await record.finished(report)) {
    context.log.warn("not everything could be looked at; the daemon does it again", {
      failing: report.failing,
    });
  }
  return report.unproven + report.failing;
}

async function uploadAll(
  context: EngineContext,
  { dryRun, onProgress, signal }: Prestage,
  ended: AbortController,
): Promise<Omit<PrestageReport, "unprovenFiles">> {
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

function reportOf(
  before: ManifestCounters,
  after: ManifestCounters,
): Omit<PrestageReport, "unprovenFiles"> {
  return {
    files: after.cleanFiles + after.dirtyFiles + after.uploadingFiles,
    totalBytes: after.totalBytes,
    uploadedBytes: Math.max(0, before.dirtyBytes - after.dirtyBytes),
    dirtyFiles: after.dirtyFiles + after.uploadingFiles,
    dirtyBytes: after.dirtyBytes,
    undecidedFiles: after.conflicts,
  };
}
