/**
 * Evicts what an operator names, now and not by the limits. Every rule of an eviction holds
 * but the configured age, in whose place stands the floor.
 *
 * @module
 */

import { Places } from "../core/limits.ts";
import type { FileEntry, PathAndEntry } from "../manifest/manifest.ts";
import { isEvictable } from "../manifest/transitions.ts";
import { isParked } from "../manifest/row.ts";
import { type EngineContext, isManagedHere, nowSeconds } from "./engine_context.ts";
import { evictOrLog, type EvictOutcome, isFarTime } from "./evict.ts";
import { evictableFromS } from "./evict_plan.ts";
import { selectRows } from "./selection.ts";

/** No file goes younger than this, whoever wants it: its last reader may not have opened it. */
const FLOOR = { evictMinAgeSecs: 5 } as const;

const CONCURRENCY = 8;

/**
 * Why a file stays. changed: it is not the file that was stored. linked: it has more than one
 * name. unconfirmed: the store did not show it, or did not answer; the log says which.
 */
export type KeptReason =
  | "dirty"
  | "undecided"
  | "pinned"
  | "unmanaged"
  | "farTime"
  | "young"
  | "busy"
  | "changed"
  | "linked"
  | "unconfirmed";

export interface HandEviction {
  readonly selection: string;
  readonly dryRun: boolean;
  readonly onProgress: (doneFiles: number) => void;
  readonly signal: AbortSignal;
}

export interface HandEvictionReport {
  /** Files that the selection has. */
  files: number;
  evictedFiles: number;
  evictedBytes: number;
  /** They were evicted before. */
  alreadyFiles: number;
  readonly kept: Record<KeptReason, number>;
}

/** With `dryRun`, counts what would go, as far as rows can tell. */
export async function evictSelected(
  context: EngineContext,
  eviction: HandEviction,
): Promise<HandEvictionReport> {
  const report: HandEvictionReport = {
    files: 0,
    evictedFiles: 0,
    evictedBytes: 0,
    alreadyFiles: 0,
    kept: {
      dirty: 0,
      undecided: 0,
      pinned: 0,
      unmanaged: 0,
      farTime: 0,
      young: 0,
      busy: 0,
      changed: 0,
      linked: 0,
      unconfirmed: 0,
    },
  };
  const places = new Places(CONCURRENCY);
  for (const batch of selectRows(context, eviction.selection)) {
    eviction.signal.throwIfAborted();
    await Promise.all(
      batch.map((row) => places.run(() => evictRow(context, row, eviction, report))),
    );
    eviction.onProgress(report.files);
    await context.clock.sleep(0, eviction.signal);
  }
  return report;
}

async function evictRow(
  context: EngineContext,
  { path, entry }: PathAndEntry,
  { dryRun, signal }: HandEviction,
  report: HandEvictionReport,
): Promise<void> {
  if (signal.aborted) return;
  report.files += 1;
  if (entry.state === "clean" && !entry.resident) {
    report.alreadyFiles += 1;
    return;
  }
  const reason = reasonToKeep(entry, nowSeconds(context)) ??
    (isManagedHere(context, path) ? null : "unmanaged") ??
    reasonOf(dryRun ? "evicted" : await evictOrLog(context, path, FLOOR));
  if (reason !== null) {
    report.kept[reason] += 1;
    return;
  }
  report.evictedFiles += 1;
  report.evictedBytes += entry.local.sizeBytes;
}

/** What the row alone says. Pure. */
export function reasonToKeep(entry: FileEntry, nowS: number): KeptReason | null {
  if (isParked(entry)) return "undecided";
  if (entry.state !== "clean") return "dirty";
  if (entry.flags.pinned) return "pinned";
  if (!isEvictable(entry)) return "unconfirmed";
  if (isFarTime(entry)) return "farTime";
  return evictableFromS(entry, FLOOR, nowS)! > nowS ? "young" : null;
}

function reasonOf(outcome: EvictOutcome): KeptReason | null {
  if (outcome === "evicted") return null;
  if (outcome === "far-time") return "farTime";
  return outcome === "not-evictable" ? "changed" : outcome;
}
