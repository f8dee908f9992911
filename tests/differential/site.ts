/**
 * The daemon of the test, and the moment at which all that may go is gone.
 *
 * @module
 */

import { isManaged, parseDepotPath } from "../../src/core/names.ts";
import { Rig, sleep } from "../crash/rig.ts";
import { evictAll, filesOf } from "./chaos.ts";

/** Long, because the machine may be busy: only what is stuck takes it. */
const EVICTED_MS_MAX = 120_000;

/** Its daemon evicts whatever is old enough. */
export function openSite(): Promise<Rig> {
  return Rig.open({
    config: {
      manage: "all",
      max_cache_bytes: 1,
      low_watermark_bytes: 0,
      watcher_allowed_uids: [1000],
      retry_base_ms: 50,
    },
  });
}

/**
 * Resolves when nothing is resident that may go: a file of two names stays. The limit alone would
 * leave the last few bytes.
 */
export async function everythingEvicted(rig: Rig): Promise<void> {
  const deadlineMs = performance.now() + EVICTED_MS_MAX;
  for (;;) {
    await evictAll(rig);
    const resident = (await filesOf(rig.depot)).filter(({ kind, links, path }) =>
      kind === "f" && links === 1 && isManaged(parseDepotPath(path), "all")
    );
    if (resident.length === 0) return;
    if (performance.now() > deadlineMs) {
      const some = resident.slice(0, 5).map(({ path }) => path).join(", ");
      throw new Error(`${resident.length} files stay: ${some}`);
    }
    await sleep(500);
  }
}
