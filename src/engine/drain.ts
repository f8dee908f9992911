/**
 * A barrier: waits until the store has everything that was dirty when it was asked.
 *
 * @module
 */

import type { EngineContext } from "./engine_context.ts";

const LOOK_MS = 100;

/** More retries than these are not counted one by one. */
const RETRIES_COUNTED_MAX = 10_000;

export interface DrainState {
  /** Nothing is dirty that was dirty then. */
  readonly isDrained: boolean;
  /** Of now, with what became dirty since. */
  readonly dirtyFiles: number;
  readonly dirtyBytes: number;
  /** Their upload failed and is tried again later; at most 10,000 are counted. */
  readonly retryingFiles: number;
  /** In conflict or foreign: somebody has to decide. */
  readonly undecidedFiles: number;
}

export interface Drain {
  readonly wait: boolean;
  readonly onProgress: (doneFiles: number, totalFiles: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Resolves when it is done, or when what is left waits for a retry or for a decision. A file
 * that is written over and over counts as done with the first upload of it that begins
 * after the call.
 */
export async function drain(
  context: EngineContext,
  { wait, onProgress, signal }: Drain,
): Promise<DrainState> {
  const { clock, manifest } = context;
  const startedMs = clock.nowMs();
  const totalFiles = openFiles(context);
  for (;;) {
    const oldestMs = manifest.oldestDirtyAtMs();
    const isDrained = oldestMs === null || oldestMs > startedMs;
    if (isDrained || !wait || isStuck(context)) return stateOf(context, isDrained);
    onProgress(Math.max(0, totalFiles - openFiles(context)), totalFiles);
    await clock.sleep(LOOK_MS, signal);
  }
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

function stateOf(context: EngineContext, isDrained: boolean): DrainState {
  const { manifest } = context;
  const { dirtyBytes, conflicts } = manifest.counters();
  const dirtyFiles = openFiles(context);
  return {
    isDrained,
    dirtyFiles,
    dirtyBytes,
    retryingFiles: manifest.retries(RETRIES_COUNTED_MAX).length,
    undecidedFiles: conflicts,
  };
}
