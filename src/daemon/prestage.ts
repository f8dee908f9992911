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
import type { LookReason } from "../engine/observe_plan.ts";
import { type NamesReport, scanDepot, walkNames } from "../engine/scan.ts";
import { UploadCoordinator } from "../engine/upload_coordinator.ts";
import type { ManifestCounters } from "../manifest/manifest.ts";
import type { OpenLogger } from "../obs/logger.ts";
import type { ScanRecord } from "./scan_record.ts";
import { openStandIn } from "./stand_in.ts";
import { EXIT, StartError } from "./start_error.ts";

const LOOK_MS = 100;

/**
 * Looks at the whole depot. The second finds what was renamed past the first, each further one is for
 * what the one before has found: a depot in which files that nobody writes come all the time, as by
 * an rsync, gives no end.
 */
const PASSES_MAX = 5;

export interface PrestageOptions {
  /** Only compares the depot with the manifest; what that shows is remembered. */
  readonly dryRun: boolean;
  readonly onProgress: (progress: PrestageProgress) => void;
}

export interface Prestage extends PrestageOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: OpenLogger;
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
  /**
   * Found by the last of {@linkcode PASSES_MAX} passes only, though nobody had written them since the
   * first: where there were such, others may have been passed over.
   */
  readonly lateFiles: number;
}

type Uploaded = Omit<PrestageReport, "unprovenFiles" | "lateFiles">;

/** @throws {StartError} Also while a daemon has the depot. */
export async function runPrestage(prestage: Prestage): Promise<PrestageReport> {
  const { config, log, version } = prestage;
  if (config.readOnly) {
    throw new StartError(EXIT.configuration, "read_only is set: nothing may be uploaded");
  }
  await using cleanup = new AsyncDisposableStack();
  const { signal } = prestage;
  const { context, record } = await openStandIn(
    { config, log, version, signal },
    cleanup,
  );
  return await prestageDepot(context, record, prestage);
}

/** File systems give times of the last tick of the kernel's clock. */
const TICK_MS = 20;

export async function prestageDepot(
  context: EngineContext,
  record: ScanRecord,
  prestage: PrestageOptions,
): Promise<PrestageReport> {
  const { clock, manifest, metrics, log } = context;
  const sinceNs = BigInt(clock.nowMs() - TICK_MS) * 1_000_000n;
  const lost = (): number => metrics.counted("p4cache_lost_files_total");
  let unprovenFiles = await compare(context, record, prestage);
  if (!prestage.dryRun) await manifest.retryNow();
  let uploadedBytes = (await uploadAll(context, prestage)).uploadedBytes;
  for (let pass = 2;; pass++) {
    const lostBefore = lost();
    const names = await compareAgain(context, sinceNs, prestage);
    unprovenFiles = Math.max(unprovenFiles, names.unproven + names.failing);
    const uploaded = await uploadAll(context, prestage);
    uploadedBytes += uploaded.uploadedBytes;
    // A file whose name was empty when it was to be uploaded may have another one.
    const lateFiles = names.late + lost() - lostBefore;
    if (lateFiles === 0 || pass === PASSES_MAX) {
      return { ...uploaded, uploadedBytes, unprovenFiles, lateFiles };
    }
    log.warn("files were renamed past the look at the depot, which is done again", {
      files: lateFiles,
    });
  }
}

/**
 * The same look as the daemon's first: what differs after a power cut is a conflict. But all is
 * hashed where only that tells. Resolves with how many files stay unproven.
 */
async function compare(
  context: EngineContext,
  record: ScanRecord,
  options: PrestageOptions,
): Promise<number> {
  const report = await scanDepot(context, lookOf(options));
  if (report.stopped !== null) throw new StartError(EXIT.incomplete, report.stopped);
  if (!await record.finished(report)) {
    context.log.warn("not everything could be looked at; the daemon does it again", {
      failing: report.failing,
    });
  }
  return report.unproven + report.failing;
}

/** Nobody watches: what was renamed from where a pass had not been to where it had is found by the next. */
async function compareAgain(
  context: EngineContext,
  sinceNs: bigint,
  options: PrestageOptions,
): Promise<NamesReport> {
  const report = await walkNames(context, lookOf(options), sinceNs);
  if (report.stopped !== null) throw new StartError(EXIT.incomplete, report.stopped);
  return report;
}

function lookOf({ dryRun, onProgress }: PrestageOptions): LookReason {
  onProgress({ phase: "scan", doneBytes: 0, totalBytes: 0 });
  let doneBytes = 0;
  const mayHash = (sizeBytes: number): boolean => {
    if (dryRun) return false;
    doneBytes += sizeBytes;
    onProgress({ phase: "scan", doneBytes, totalBytes: 0 });
    return true;
  };
  return { ...SCAN, mayHash };
}

async function uploadAll(
  context: EngineContext,
  { dryRun, onProgress }: PrestageOptions,
): Promise<Uploaded> {
  const { manifest, clock, signal } = context;
  const before = manifest.counters();
  if (dryRun) return reportOf(before, before);
  const ended = new AbortController();
  const either = AbortSignal.any([signal, ended.signal]);
  const coordinator = new UploadCoordinator({ ...context, signal: either }, () => {});
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
): Uploaded {
  return {
    files: after.cleanFiles + after.dirtyFiles + after.uploadingFiles,
    totalBytes: after.totalBytes,
    uploadedBytes: Math.max(0, before.dirtyBytes - after.dirtyBytes),
    dirtyFiles: after.dirtyFiles + after.uploadingFiles,
    dirtyBytes: after.dirtyBytes,
    undecidedFiles: after.conflicts,
  };
}
