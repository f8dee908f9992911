/**
 * What surrounds the daemon fails: its helpers are killed again and again, the clock jumps.
 *
 * @module
 */

import { ok, strictEqual } from "node:assert/strict";
import { sleep } from "../crash/rig.ts";
import { DiskFaults } from "./disk_faults.ts";
import { evictEverything, type Sites, workFor } from "./site.ts";

const DAY_SECS = 86_400;

export function helpersAreKilled(sites: Sites): Promise<void> {
  return sites.run({ config: { max_cache_bytes: 200_000 } }, async (rig, workload) => {
    workload.start();
    for (let i = 0; i < 12; i++) {
      for (const helper of ["p4-cache-gate", "p4-cache-fanotify"]) {
        try {
          Deno.kill(rig.helperPid(helper), "SIGKILL");
        } catch (error) {
          // Between two lives of it.
          if (
            !(error instanceof Error && error.message.startsWith("the daemon has no"))
          ) {
            throw error;
          }
        }
      }
      await sleep(500);
    }
    await workload.stop();
    ok(rig.metric('p4cache_helper_restarts_total{helper="fanotify"}') > 3);
    ok(rig.metric('p4cache_helper_restarts_total{helper="gate"}') > 3);
  });
}

/**
 * By a month, forth and back and back again. No grace of a deleted file ends by that, no
 * retry waits for another month, and no file is kept from its upload or its eviction.
 */
export async function clockJumps(sites: Sites): Promise<void> {
  await using faults = await DiskFaults.open();
  const config = {
    "delete_grace_secs": DAY_SECS,
    "retry_base_ms": 20,
    "retry_max_attempts": 0,
  };
  await sites.run({ env: faults.env, config }, async (rig, workload) => {
    const stored = (): number => filesBelow(rig.store);
    for (const days of [30, 0, -30, 0]) {
      faults.setClock(days * DAY_SECS);
      const before = stored();
      await workFor(workload, 1_500);
      // The deadline of its retry is of this clock; the next one is another.
      await Deno.rename(rig.store, `${rig.store}.away`);
      for (let i = 0; i < 3; i++) await workload.writeNew();
      await sleep(1_500);
      await Deno.rename(`${rig.store}.away`, rig.store);
      ok(stored() >= before, "objects of deleted files went before their grace was over");
    }
    await rig.drained();
    await evictEverything(rig);
    await rig.reload({ max_cache_bytes: 0, low_watermark_bytes: null });
    strictEqual(rig.logCount("removed objects of deleted files"), 0);
  });
}

function filesBelow(directory: string): number {
  let count = 0;
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    count += isDirectory ? filesBelow(`${directory}/${name}`) : 1;
  }
  return count;
}
