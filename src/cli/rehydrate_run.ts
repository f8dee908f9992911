/**
 * Restores what is evicted, some files at a time.
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import type { PathAndEntry } from "../manifest/manifest.ts";
import type { OperatorDeps } from "./operator_command.ts";
import { ProgressLine } from "./progress_line.ts";
import type { Restorer } from "./restore_client.ts";

export interface Amount {
  files: number;
  bytes: number;
}

export interface Outcome {
  readonly restored: Amount;
  failedFiles: number;
  /** Their names were gone in the last pass, too: each was deleted, or renamed and is evicted still. */
  goneFiles: number;
}

export interface Run {
  /** What is evicted now. */
  readonly wanted: () => Iterable<PathAndEntry>;
  readonly jobs: number;
  readonly evicted: Amount;
  readonly outcome: Outcome;
  readonly write: (text: string) => void;
}

type Deps = Pick<OperatorDeps, "clock" | "isTerminal" | "signal" | "printError">;

/** Failures that are named; the rest is counted. */
const SHOWN_FAILURES_MAX = 100;

/** As often as files are renamed while their turn comes. */
const PASSES_MAX = 5;

export function noOutcome(): Outcome {
  return { restored: { files: 0, bytes: 0 }, failedFiles: 0, goneFiles: 0 };
}

/** Once more, as long as names were gone: a file that was renamed has another one now. */
export async function restoreAll(
  run: Run,
  restorer: Restorer,
  deps: Deps,
): Promise<void> {
  const { outcome } = run;
  for (let pass = 1; pass <= PASSES_MAX; pass++) {
    outcome.failedFiles = 0;
    outcome.goneFiles = 0;
    await restoreOnce(run, restorer, deps);
    if (outcome.goneFiles === 0) return;
  }
}

async function restoreOnce(
  { wanted, jobs, evicted, outcome, write }: Run,
  restorer: Restorer,
  { clock, isTerminal, signal, printError }: Deps,
): Promise<void> {
  const progress = new ProgressLine({
    verb: "rehydrate",
    unit: "bytes",
    clock,
    isTerminal,
    write,
  });
  const restore = async ({ path, entry }: PathAndEntry): Promise<void> => {
    const reply = await restorer.restore(path, signal);
    if (reply.kind === "restored") {
      outcome.restored.files += 1;
      outcome.restored.bytes += entry.stored!.sizeBytes;
      progress.update(outcome.restored.bytes, evicted.bytes);
    } else if (reply.kind === "failed") {
      outcome.failedFiles += 1;
      if (outcome.failedFiles > SHOWN_FAILURES_MAX) return;
      progress.clear();
      printError(`${displayPath(path)}: ${reply.code} ${reply.why}`);
    } else outcome.goneFiles += 1;
  };
  const underWay = new Set<Promise<void>>();
  // The daemon is gone, most likely: the run ends, and the next one does the rest.
  let failure: { readonly error: unknown } | null = null;
  for (const row of wanted()) {
    if (underWay.size >= jobs) await Promise.race(underWay);
    if (signal.aborted || failure !== null) break;
    const done: Promise<void> = restore(row)
      .catch((error) => void (failure ??= { error }))
      .finally(() => underWay.delete(done));
    underWay.add(done);
  }
  await Promise.all(underWay);
  signal.throwIfAborted();
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
  progress.clear();
}
