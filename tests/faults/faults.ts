/**
 * The world fails around a running daemon, and recovers: the store goes away, fills up,
 * loses an object, has wrong bytes; the helpers are killed again and again; the depot's
 * disk is full. While a fault lasts nothing may be lost or wrong, and when it ends
 * everything must drain by itself.
 *
 *   deno run -A tests/faults/faults.ts [--only NAME] [--seed S]
 *
 * Needs root, for mounts. The last line is `faults: scenarios=N files=N lost=0 wrong=0`.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { parseArgs } from "node:util";
import { seededRandom } from "../crash/random.ts";
import { Rig, type RigOptions, sleep, until } from "../crash/rig.ts";
import { Workload } from "../crash/workload.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { only: { type: "string" }, seed: { type: "string" } },
});
const random = seededRandom(values.seed);
const total = { files: 0, lost: 0, wrong: 0 };

/** A daemon with some files in the store, and a workload to write more with. */
async function withSite(
  options: RigOptions,
  scenario: (rig: Rig, workload: Workload) => Promise<void>,
): Promise<void> {
  await using rig = await Rig.open(options);
  strictEqual(await rig.start(), "ready", rig.log);
  const workload = new Workload(rig, random, { sizeMax: 200_000 });
  try {
    for (let i = 0; i < 20; i++) await workload.writeNew();
    await rig.drained();
    await scenario(rig, workload);
    // The fault is over.
    await rig.settled();
    await workload.checkAll();
    strictEqual((await rig.end("SIGTERM")).code, 0);
    await rig.wipeDepot();
    strictEqual(await rig.start(), "ready", rig.log);
    await workload.checkAll();
  } finally {
    await workload.close();
  }
  total.files += workload.names.length;
  total.lost += workload.count("lost");
  total.wrong += workload.count("wrong");
}

async function mountTmpfs(
  cleanup: AsyncDisposableStack,
  sizeMiB: number,
): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-faults-" });
  cleanup.defer(() => Deno.remove(directory));
  await command("mount", "-t", "tmpfs", "-o", `size=${sizeMiB}m`, "tmpfs", directory);
  cleanup.defer(() => command("umount", "--lazy", directory));
  return directory;
}

async function command(...[program, ...args]: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program!, { args }).output();
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
}

/** Fills a file system to the last byte. */
async function fill(ballast: string): Promise<void> {
  using file = await Deno.open(ballast, { create: true, write: true });
  for (let size = 65_536; size >= 1;) {
    try {
      await file.write(new Uint8Array(size));
    } catch {
      size = Math.floor(size / 2);
    }
  }
}

async function evictEverything(rig: Rig): Promise<void> {
  await rig.reload({ max_cache_bytes: 1, low_watermark_bytes: 0 });
  await until(
    "everything is evicted",
    () => [...rig.names()].every(({ isMarker }) => isMarker),
  );
}

const failedUploads = 'p4cache_uploads_total{result="failure"}';

/** The export is not mounted: its directory is gone. */
function storeGoesAway(): Promise<void> {
  return withSite({ config: { retry_base_ms: 50 } }, async (rig, workload) => {
    await Deno.rename(rig.store, `${rig.store}.away`);
    for (let i = 0; i < 10; i++) await workload.writeNew();
    await until("an upload fails for good", () => rig.metric(failedUploads) > 0);
    ok(rig.metric('p4cache_files{state="dirty"}') > 0, "what failed stays dirty");
    await Deno.rename(`${rig.store}.away`, rig.store);
  });
}

async function storeFillsUp(): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const store = `${await mountTmpfs(cleanup, 24)}/store`;
  const options = { store, config: { retry_base_ms: 50 } };
  await withSite(options, async (rig, workload) => {
    await fill(`${store}/../ballast`);
    for (let i = 0; i < 10; i++) await workload.writeNew();
    await until("an upload fails for good", () => rig.metric(failedUploads) > 0);
    await Deno.remove(`${store}/../ballast`);
  });
}

function helpersAreKilled(): Promise<void> {
  return withSite({ config: { max_cache_bytes: 200_000 } }, async (rig, workload) => {
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

/** Somebody removes an object whose file is still here: it may not be evicted. */
function storeLosesAnObject(): Promise<void> {
  return withSite({}, async (rig, workload) => {
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
function storeHasWrongBytes(): Promise<void> {
  return withSite({}, async (rig, workload) => {
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

/** A restore waits for room, and the daemon lives through a disk without a byte. */
async function depotDiskFillsUp(): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const disk = await mountTmpfs(cleanup, 48);
  await withSite({ depot: `${disk}/depot` }, async (rig, workload) => {
    await evictEverything(rig);
    await rig.reload({ max_cache_bytes: 0, low_watermark_bytes: null });
    await fill(`${disk}/ballast`);
    const path = workload.names.find((name) => name.endsWith(",v"))!;
    let isAnswered = false;
    const reading = rig.client().ask("read", `${rig.depot}/${path}`)
      .finally(() => isAnswered = true);
    await sleep(3_000);
    ok(!isAnswered, "a restore without room waits");
    await Deno.remove(`${disk}/ballast`);
    ok("sha256" in await reading, "it goes on when there is room");
  });
}

const SCENARIOS = {
  storeGoesAway,
  storeFillsUp,
  helpersAreKilled,
  storeLosesAnObject,
  storeHasWrongBytes,
  depotDiskFillsUp,
} as const;

let count = 0;
let failed = 0;
for (const [name, scenario] of Object.entries(SCENARIOS)) {
  if (values.only !== undefined && values.only !== name) continue;
  count += 1;
  const startedMs = performance.now();
  try {
    await scenario();
    console.log(`${name}: ok, ${Math.round(performance.now() - startedMs)} ms`);
  } catch (error) {
    failed += 1;
    console.log(`${name}: FAILED: ${error instanceof Error ? error.stack : error}`);
  }
}
const { files, lost, wrong } = total;
console.log(
  `faults: scenarios=${count} failed=${failed} files=${files} lost=${lost} wrong=${wrong}`,
);
Deno.exit(count > 0 && failed + lost + wrong === 0 ? 0 : 1);
