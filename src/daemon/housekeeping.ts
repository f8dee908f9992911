/**
 * What is done once an hour or once a day: the manifest's counters are counted again, and
 * the manifest is copied, so that a rebuild has something to start from.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { checkManifest } from "../manifest/check_manifest.ts";
import { copiesOf, copyDirectoryAt, pruneCopies } from "../manifest/copies.ts";
import type { Manifest, ManifestCounters } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import { messageOf } from "./state_directory.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const COPIES_KEPT = 3;

export interface HousekeepingDeps {
  readonly manifest: Manifest;
  /** `<depot>/.p4cache/manifest`. */
  readonly manifestDirectory: string;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Until the signal aborts. The first round comes at once. */
export async function keepHouse(deps: HousekeepingDeps): Promise<void> {
  const { clock, signal, log } = deps;
  while (!signal.aborted) {
    for (const [what, work] of [["count", recount], ["copy", copyDaily]] as const) {
      try {
        await work(deps);
      } catch (error) {
        if (signal.aborted) return;
        log.error(`cannot ${what} the manifest: ${messageOf(error)}`);
      }
    }
    await clock.sleep(HOUR_MS, signal).catch(() => {});
  }
}

async function recount({ manifest, metrics, log }: HousekeepingDeps): Promise<void> {
  const { kept, counted } = await manifest.recount();
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
  const { manifest, manifestDirectory, clock, log } = deps;
  const nowMs = clock.nowMs();
  const newest = copiesOf(manifestDirectory)[0];
  if (
    newest !== undefined && newest > copyDirectoryAt(manifestDirectory, nowMs - DAY_MS)
  ) return;
  const directory = copyDirectoryAt(manifestDirectory, nowMs);
  await Deno.mkdir(directory.replace(/\/[^/]*$/, ""), { recursive: true, mode: 0o700 });
  await manifest.backup(directory);
  for await (const { where, what } of checkManifest(directory)) {
    await Deno.remove(directory, { recursive: true });
    throw new Error(
      `the copy is not sound (${where}: ${what}); run p4-cache check-manifest`,
    );
  }
  await pruneCopies(manifestDirectory, COPIES_KEPT);
  log.info("copied the manifest", { to: directory });
}
