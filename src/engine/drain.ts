/**
 * A barrier: waits until the store has everything that was dirty when it was asked.
 *
 * @module
 */

import type { Waiting } from "../manifest/manifest.ts";
import type { EngineContext } from "./engine_context.ts";
import { SCAN } from "./observe.ts";
import type { LookReason } from "./observe_plan.ts";
import type { ScanReport } from "./scan.ts";

const LOOK_MS = 100;
/** Rows looked at in one turn. */
const PAGE = 1_000;

export interface DrainState {
  /**
   * Nothing is dirty that was dirty then, nothing waits for a decision (the bytes of a file in
   * conflict are nowhere else, dirty or not), and no file is unproven.
   */
  readonly isDrained: boolean;
  /** Of now, with what became dirty since. */
  readonly dirtyFiles: number;
  readonly dirtyBytes: number;
  /** Their upload failed and is tried again later. */
  readonly retryingFiles: number;
  /** In conflict or foreign: somebody has to decide. */
  readonly undecidedFiles: number;
  /** By the last whole scan ({@linkcode ScanReport}); null: there was none since the start. */
  readonly unprovenFiles: number | null;
}

export interface Drain {
  readonly wait: boolean;
  readonly onProgress: (doneFiles: number, totalFiles: number) => void;
  readonly signal: AbortSignal;
}

/** What is taken for stored by its times alone. */
export interface Unproven {
  /** See {@linkcode UnprovenFiles}. */
  count(): number | null;
  scan(context: EngineContext, reason: LookReason): Promise<ScanReport>;
}

/** A scan is done again if a directory was renamed meanwhile, or another scan has begun. */
const HASHING_SCANS_MAX = 3;

/**
 * Resolves when it is done, or when what is left waits for a retry or for a decision. A file
 * that is written over and over counts as done with the first upload of it that begins
 * after the call. What scans have left unproven is hashed first.
 */
export async function drain(
  context: EngineContext,
  options: Drain,
  unproven: Unproven,
): Promise<DrainState> {
  const { wait, onProgress, signal } = options;
  const { clock } = context;
  if (wait && unproven.count() !== 0) await hashAll(context, options, unproven);
  const hasWaited = waitingSince(context);
  const totalFiles = openFiles(context);
  for (;;) {
    const isUploaded = !await hasWaited(signal);
    if (isUploaded || !wait || isStuck(context)) {
      return stateOf(context, isUploaded, unproven.count());
    }
    onProgress(Math.max(0, totalFiles - openFiles(context)), totalFiles);
    await clock.sleep(LOOK_MS, signal);
  }
}

async function hashAll(
  context: EngineContext,
  { onProgress, signal }: Drain,
  unproven: Unproven,
): Promise<void> {
  const either = AbortSignal.any([context.signal, signal]);
  const totalFiles = unproven.count() ?? 0;
  let files = 0;
  const mayHash = (): boolean => {
    onProgress(Math.min(files++, totalFiles), totalFiles);
    return true;
  };
  for (let scans = 0; scans < HASHING_SCANS_MAX; scans++) {
    const hashing = { ...context, signal: either };
    const report = await unproven.scan(hashing, { ...SCAN, mayHash });
    const { stopped, failing } = report;
    if (stopped !== null) return context.log.error(`a scan stopped: ${stopped}`);
    // A scan that began since may have left more.
    if (failing === 0 && unproven.count() === report.unproven) return;
  }
}

/**
 * Tells whether anything is dirty still that is dirty now. By the time since which it is, and, as
 * the clock may have been set back, by its place in the queue too: a time of the future is one of
 * before that.
 */
function waitingSince(
  { clock, manifest }: EngineContext,
): (signal: AbortSignal) => Promise<boolean> {
  const startedMs = clock.nowMs();
  const sequence = manifest.nextSequence();
  const isOld = (waiting: Waiting): boolean =>
    waiting.sequence < sequence || waiting.dirtySinceMs <= startedMs ||
    waiting.dirtySinceMs > clock.nowMs();
  return async (signal) => {
    for (let after: Waiting | null = null;;) {
      const page = manifest.waiting(after, after === null ? 1 : PAGE);
      if (page.length === 0) return false;
      if (page.some(isOld)) return true;
      await clock.sleep(0, signal);
      after = page.at(-1)!;
    }
  };
}

function openFiles({ manifest }: EngineContext): number {
  const { dirtyFiles, uploadingFiles } = manifest.counters();
  return dirtyFiles + uploadingFiles;
}

/** Nothing is under way, and nothing is due. */
function isStuck({ manifest, clock }: EngineContext): boolean {
  return manifest.counters().uploadingFiles === 0 &&
    manifest.dirtyDue(clock.nowMs(), 1).length === 0;
}

function stateOf(
  context: EngineContext,
  isUploaded: boolean,
  unprovenFiles: number | null,
): DrainState {
  const { manifest } = context;
  const { dirtyBytes, conflicts } = manifest.counters();
  const dirtyFiles = openFiles(context);
  return {
    isDrained: isUploaded && conflicts === 0 && unprovenFiles === 0,
    dirtyFiles,
    dirtyBytes,
    retryingFiles: manifest.retryCount(),
    undecidedFiles: conflicts,
    unprovenFiles,
  };
}
