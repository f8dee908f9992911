/**
 * What is done once an hour or once a day: the manifest's counters are counted again, and
 * the manifest is copied, beside itself and into the store, so that a rebuild has something
 * to start from.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import { removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { checkManifest } from "../manifest/check_manifest.ts";
import {
  copyDirectoryAt,
  copyDirectoryOf,
  copyNameOf,
  copyNamesOf,
  newestOf,
  planPrune,
  removeUnchecked,
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
import { putStoreCopy, removeStoreCopy, storeCopiesOf } from "./store_copies.ts";

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
  /**
   * Runs `work` once the depot's disk has so many bytes above `min_free_bytes`; eviction is
   * asked for them. @throws If it makes no room.
   */
  withRoom<T>(sizeBytes: number, work: () => Promise<T>): Promise<T>;
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
  log.error("the manifest's counters are not what a recount gives: run check-manifest", {
    counters: drifted.join(" "),
  });
}

/** Once a day. What cannot be done now, for want of room or for anything else, is tried in an hour. */
async function copyDaily(deps: HousekeepingDeps): Promise<void> {
  const { manifestDirectory, clock, metrics, signal } = deps;
  await removeUnchecked(manifestDirectory);
  const nowMs = clock.nowMs();
  const newest = newestOf(copyNamesOf(manifestDirectory), nowMs);
  const aDayAgo = copyDirectoryAt(manifestDirectory, nowMs - DAY_MS);
  if (newest !== null && copyDirectoryOf(manifestDirectory, newest) > aDayAgo) return;
  try {
    await copy(deps, nowMs);
  } catch (error) {
    // It may still be written to.
    if (signal.aborted) throw error;
    metrics.count("p4cache_manifest_copy_failures_total");
    await removeUnchecked(manifestDirectory);
    throw error;
  }
}

/** A copy that is not sound is worse than none: it goes, and the older ones stay. */
async function copy(deps: HousekeepingDeps, nowMs: number): Promise<void> {
  const { manifest, manifestDirectory, native, log, signal } = deps;
  const directory = copyDirectoryAt(manifestDirectory, nowMs);
  const unchecked = uncheckedDirectory(manifestDirectory);
  await Deno.mkdir(parentOf(directory), { recursive: true, mode: 0o700 });
  const { size } = await Deno.stat(`${manifestDirectory}/${DATA_FILE}`);
  // What is left of one that a stop cuts short, the next start removes.
  await deps.withRoom(size, () => unlessAborted(signal, manifest.backup(unchecked)));
  const check = { ...native && { native }, signal, pagesOnly: true };
  for await (const { where, what } of checkManifest(unchecked, check)) {
    throw new Error(
      `the copy is not sound (${where}: ${what}); run p4-cache check-manifest`,
    );
  }
  await Deno.rename(unchecked, directory);
  await syncDirectory(parentOf(directory));
  const good = copyNameOf(directory);
  const names = copyNamesOf(manifestDirectory);
  for (const name of planPrune(names, { keep: COPIES_KEPT, good, nowMs })) {
    await removeIfThere(copyDirectoryOf(manifestDirectory, name));
  }
  log.info("copied the manifest", { to: directory });
}

/** The newest checked copy belongs into the store, too; what failed is tried in an hour. */
async function storeCopy(deps: HousekeepingDeps): Promise<void> {
  const { manifestDirectory, store, posix, clock, log, signal } = deps;
  const nowMs = clock.nowMs();
  const good = newestOf(copyNamesOf(manifestDirectory), nowMs);
  if (store === null || good === null) return;
  if ((await storeCopiesOf(store, signal)).includes(good)) return;
  const stored = { store, posix, signal };
  const file = `${copyDirectoryOf(manifestDirectory, good)}/${DATA_FILE}`;
  await putStoreCopy(stored, good, file);
  const names = await storeCopiesOf(store, signal);
  for (const name of planPrune(names, { keep: COPIES_KEPT, good, nowMs })) {
    await removeStoreCopy(stored, name);
  }
  log.info("copied the manifest to the store", { name: good });
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}
