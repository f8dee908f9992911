/**
 * The store fails: it goes away, fills up, loses an object, has other bytes than it was given.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { until } from "../crash/rig.ts";
import {
  command,
  evictEverything,
  FAILED_UPLOADS,
  fill,
  mountTmpfs,
  type Sites,
} from "./site.ts";

/** The export is not mounted: its directory is gone. */
export function storeGoesAway(sites: Sites): Promise<void> {
  return sites.run({ config: { retry_base_ms: 50 } }, async (rig, workload) => {
    await Deno.rename(rig.store, `${rig.store}.away`);
    for (let i = 0; i < 10; i++) await workload.writeNew();
    await until("an upload fails for good", () => rig.metric(FAILED_UPLOADS) > 0);
    ok(rig.metric('p4cache_files{state="dirty"}') > 0, "what failed stays dirty");
    await Deno.rename(`${rig.store}.away`, rig.store);
  });
}

export async function storeFillsUp(sites: Sites): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const store = `${await mountTmpfs(cleanup, 24)}/store`;
  const options = { store, config: { retry_base_ms: 50 } };
  await sites.run(options, async (rig, workload) => {
    await fill(`${store}/../ballast`);
    for (let i = 0; i < 10; i++) await workload.writeNew();
    await until("an upload fails for good", () => rig.metric(FAILED_UPLOADS) > 0);
    await Deno.remove(`${store}/../ballast`);
  });
}

/** Somebody removes an object whose file is still here: it may not be evicted. */
export function storeLosesAnObject(sites: Sites): Promise<void> {
  return sites.run({}, async (rig, workload) => {
    const path = workload.names.find((name) => name.endsWith(",v"))!;
    await Deno.remove(`${rig.store}/${path}`);
    await rig.reload({ max_cache_bytes: 1, low_watermark_bytes: 0 });
    await until(
      "the eviction is refused",
      () => rig.metric("p4cache_evict_refused_total") > 0,
    );
    await until(
      "everything is evicted, the lost object after a new upload",
      () => [...rig.names()].every(({ isMarker }) => isMarker),
    );
  });
}

/** A restore of what is not what was stored is refused, and nothing is changed by it. */
export function storeHasWrongBytes(sites: Sites): Promise<void> {
  return sites.run({}, async (rig, workload) => {
    await evictEverything(rig);
    const path = workload.names.find((name) => name.endsWith(",v"))!;
    const object = `${rig.store}/${path}`;
    const good = await Deno.readFile(object);
    const bad = good.slice();
    bad[bad.length >> 1]! ^= 1;
    await command("chmod", "u+w", object);
    const client = rig.client();
    for (const content of [bad, good.subarray(0, good.length - 1), new Uint8Array()]) {
      await Deno.writeFile(object, content);
      const reply = await client.ask("read", `${rig.depot}/${path}`);
      deepStrictEqual(reply, { errno: "EIO" }, "wrong bytes are an error");
      const { isSocket } = await Deno.lstat(`${rig.depot}/${path}`);
      strictEqual(isSocket, true, "the marker stays");
    }
    await Deno.writeFile(object, good);
    await rig.reload({ max_cache_bytes: 0, low_watermark_bytes: null });
  });
}
