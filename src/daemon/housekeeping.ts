/**
 * What is done once an hour or once a day: the manifest's counters are counted again, and
 * the manifest is copied, beside itself and into the store, so that a rebuild has something
 * to start from.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { checkManifest } from "../manifest/check_manifest.ts";
import {
  copiesOf,
  copyDirectoryAt,
  copyNameOf,
  pruneCopies,
  uncheckedDirectory,
} from "../manifest/copies.ts";
import { DATA_FILE } from "../manifest/lmdb_key_value.ts";
import type { Manifest, ManifestCounters } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import type { NativePages } from "../manifest/page_file.ts";
import type { Posix } from "../posix/posix.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { messageOf } from "./state_directory.ts";
import { pruneStoreCopies, putStoreCopy, storeCopiesOf } from "./store_copies.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const COPIES_KEPT = 3;

export interface HousekeepingDeps {
  readonly manifest: Manifest;
  /** `<depot>/.p4cache/manifest`. */
  readonly manifestDirectory: string;
  readonly posix: Posix;
  readonly native?: NativePages;
  /** Where copies go, too; null where nothing may be written to it. */
  readonly store: StorageBackend | null;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Until the signal aborts. The first round comes at once. */
export async function keepHouse(deps: HousekeepingDeps): Promise<void> {
  const { clock, signal, log } = deps;
  while (!signal.aborted) {
    for (const [what, work] of ROUND) {
      try {
        await work(deps);
      } catch (error) {
        if (signal.aborted) return;
        log.error(`cannot ${what}: ${messageOf(error)}`);
      }
    }
    await clock.sleep(HOUR_MS, signal).catch(() => {});
  }
}

const ROUND = [
  ["count the manifest's rows", recount],
  ["copy the manifest", copyDaily],
  ["copy the manifest to the store", storeCopy],
] as const;

async function recount(
  { manifest, metrics, log, signal }: HousekeepingDeps,
): Promise<void> {
  const { kept, counted } = await manifest.recount(signal);
  const names = Object.keys(counted) as (keyof ManifestCounters)[];
  const drifted = names.filter((name) => kept[name] !== counted[name]);
  if (drifted.length === 0) return;
  metrics.count("p4cache_manifest_counter_drift_total", {}, drifted.length);
  log.error("the manifest's counters are not what a recount gives", {
    counters: drifted.join(" "),
  });
}

/** A copy that is not sound is worse than none: it goes, and the older ones stay. */
async function copyDaily(deps: HousekeepingDeps): Promise<void> {
  const { manifest, manifestDirectory, native, clock, log, signal } = deps;
  const nowMs = clock.nowMs();
  const oldestName = copyDirectoryAt(manifestDirectory, nowMs - DAY_MS);
  const directory = copyDirectoryAt(manifestDirectory, nowMs);
  // A name of the future is a clock that was wrong: it says nothing of the copy's age.
  const isCopied = copiesOf(manifestDirectory)
    .some((copy) => copy > oldestName && copy <= directory);
  if (isCopied) return;
  const unchecked = uncheckedDirectory(manifestDirectory);
  await Deno.mkdir(parentOf(directory), { recursive: true, mode: 0o700 });
  await removeIfThere(unchecked);
  await manifest.backup(unchecked);
  const check = { ...native && { native }, signal, pagesOnly: true };
  for await (const { where, what } of checkManifest(unchecked, check)) {
    await Deno.remove(unchecked, { recursive: true });
    throw new Error(
      `the copy is not sound (${where}: ${what}); run p4-cache check-manifest`,
    );
  }
  await Deno.rename(unchecked, directory);
  await syncDirectory(parentOf(directory));
  await pruneCopies(manifestDirectory, COPIES_KEPT, directory);
  log.info("copied the manifest", { to: directory });
}

/** The newest checked copy belongs into the store, too; what failed is tried in an hour. */
async function storeCopy(deps: HousekeepingDeps): Promise<void> {
  const { manifestDirectory, store, posix, log, signal } = deps;
  const newest = copiesOf(manifestDirectory)[0];
  if (store === null || newest === undefined) return;
  const name = copyNameOf(newest);
  if ((await storeCopiesOf(store, signal)).includes(name)) return;
  const stored = { store, posix, signal };
  await putStoreCopy(stored, name, `${newest}/${DATA_FILE}`);
  await pruneStoreCopies(stored, COPIES_KEPT, name);
  log.info("copied the manifest to the store", { name });
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}
