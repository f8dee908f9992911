/**
 * Pins: files that stay on the local disk by the operator's wish.
 *
 * The wish stands in the row of each file, so it goes where a rename takes the file and ends
 * with a delete; a file that is made later under a pinned directory is not pinned.
 *
 * @module
 */

import type { PathAndEntry } from "../manifest/manifest.ts";
import type { EngineContext } from "./engine_context.ts";
import { selectRows } from "./selection.ts";

export interface PinOptions {
  readonly selection: string;
  readonly pinned: boolean;
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

export interface PinReport {
  /** Files that the selection has. */
  readonly files: number;
  /** Of these, the ones that were not as wished before. */
  readonly changed: number;
  /** Of these, evicted ones: they come back when they are read, not by the pin. */
  readonly evicted: number;
  readonly bytes: number;
}

/** Sets or clears the wish. */
export async function pinSelected(
  context: EngineContext,
  options: PinOptions,
): Promise<PinReport> {
  const report = { files: 0, changed: 0, evicted: 0, bytes: 0 };
  for (const batch of selectRows(context, options.selection)) {
    options.signal.throwIfAborted();
    const changes: Promise<void>[] = [];
    for (const { path, entry } of batch) {
      report.files += 1;
      report.bytes += entry.local.sizeBytes;
      if (!entry.resident) report.evicted += 1;
      if (entry.flags.pinned === options.pinned) continue;
      report.changed += 1;
      if (!options.dryRun) changes.push(setPinned(context, { path, entry }, options));
    }
    await Promise.all(changes);
    await context.clock.sleep(0, options.signal);
  }
  return report;
}

async function setPinned(
  { manifest }: EngineContext,
  { path, entry }: PathAndEntry,
  { pinned }: PinOptions,
): Promise<void> {
  let current: PathAndEntry["entry"] | null = entry;
  // Whatever else happened to the row meanwhile, the wish holds for what it is now.
  while (current !== null) {
    const { outcome, entry: next } = await manifest.apply(path, current.generation, {
      kind: "flagged",
      flags: { pinned },
    });
    if (outcome !== "stale") return;
    current = next;
  }
}
