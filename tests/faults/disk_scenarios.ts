/**
 * The local disk fails: full, unreadable, unwritable, out of descriptors, once and for a
 * while, also while a start recovers from a crash.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type Rig, sleep, until } from "../crash/rig.ts";
import type { Workload } from "../crash/workload.ts";
import { type DiskFault, DiskFaults } from "./disk_faults.ts";
import {
  command,
  evictEverything,
  fill,
  mountTmpfs,
  type Sites,
  workFor,
} from "./site.ts";

/** A cache that is too small: everything is uploaded, evicted and restored all the time. */
const BUSY = {
  "max_cache_bytes": 150_000,
  "low_watermark_bytes": null,
  "retry_base_ms": 20,
};
const AT_REST = { "max_cache_bytes": 0, "low_watermark_bytes": null };

/** Long, because the machine may be busy. */
const MET_MS_MAX = 120_000;

/** Every kind of call of each operation. The paths: downloads, evictions, the manifest, files. */
const FAULTS: readonly Omit<DiskFault, "times" | "errno">[] = [
  { op: "open", path: ",v" },
  { op: "open", path: "/.p4cache/tmp/" },
  { op: "read", path: ",v" },
  { op: "write", path: "/.p4cache/tmp/" },
  { op: "sync", path: "/.p4cache/tmp/" },
  { op: "sync", path: "/d" },
  { op: "rename", path: "/.p4cache/tmp/" },
  { op: "rename", path: "/.p4cache/evicting/" },
  { op: "unlink", path: "/.p4cache/tmp/" },
  { op: "unlink", path: "/.p4cache/evicting/" },
  { op: "make", path: "/.p4cache/evicting/" },
  { op: "make", path: "/.p4cache/tmp/" },
  { op: "write", path: "/.p4cache/manifest/" },
  { op: "sync", path: "/.p4cache/manifest/" },
];

/** A program gets EIO from a read that the disk fails; what it may not get is another file. */
function onFailingDisk(
  sites: Sites,
  scenario: (faults: DiskFaults, rig: Rig, workload: Workload) => Promise<void>,
): Promise<void> {
  return (async (): Promise<void> => {
    await using faults = await DiskFaults.open();
    await sites.run({ env: faults.env }, async (rig, workload) => {
      workload.toleratesErrors = true;
      await rig.reload(BUSY);
      await scenario(faults, rig, workload);
      faults.clear();
      workload.toleratesErrors = false;
      await restarted(rig);
      await rig.reload(AT_REST);
    });
  })();
}

/** A start may meet the failure that is waited for, and the next one then does not. */
const STARTS_MAX = 3;

/** A daemon may end where its manifest fails; systemd would start it again. */
async function restarted(rig: Rig, withinMs = 500): Promise<void> {
  if (!await rig.endsWithin(withinMs)) return;
  for (let starts = 1;; starts++) {
    await rig.end("SIGTERM");
    if (await rig.start() === "ready") return;
    ok(starts < STARTS_MAX, rig.log.slice(-3_000));
  }
}

/** The workload goes on until the fault was met. */
async function met(
  what: string,
  { rig, workload }: { readonly rig: Rig; readonly workload: Workload },
  isMet: () => boolean,
): Promise<void> {
  const deadlineMs = performance.now() + MET_MS_MAX;
  while (!isMet()) {
    workload.throwIfFailed();
    if (performance.now() > deadlineMs) {
      throw new Error(`gave up waiting until ${what}:\n${rig.log.slice(-2_000)}`);
    }
    await restarted(rig, 50);
  }
}

async function eachFaultOnce(
  { faults, rig, workload, errno }: {
    readonly faults: DiskFaults;
    readonly rig: Rig;
    readonly workload: Workload;
    readonly errno: DiskFault["errno"];
  },
): Promise<void> {
  workload.start();
  for (const fault of FAULTS) {
    faults.arm({ ...fault, errno, times: 1 });
    const what = `${fault.op} of ${fault.path} has failed`;
    await met(what, { rig, workload }, () => faults.left === 0);
    await restarted(rig);
  }
  await workload.stop();
}

async function eachFaultForAWhile(
  { faults, rig, workload, errno }: Parameters<typeof eachFaultOnce>[0],
): Promise<void> {
  for (const fault of FAULTS) {
    faults.arm({ ...fault, errno, times: Infinity });
    workload.start();
    const what = `${fault.op} of ${fault.path} has failed`;
    await met(what, { rig, workload }, () => faults.hits > 0);
    await sleep(1_000);
    await workload.stop();
    faults.clear();
    await restarted(rig);
  }
}

export function eioOnce(sites: Sites): Promise<void> {
  return onFailingDisk(
    sites,
    (faults, rig, workload) => eachFaultOnce({ faults, rig, workload, errno: "EIO" }),
  );
}

export function eioForAWhile(sites: Sites): Promise<void> {
  return onFailingDisk(
    sites,
    (faults, rig, workload) =>
      eachFaultForAWhile({ faults, rig, workload, errno: "EIO" }),
  );
}

export function enospcOnce(sites: Sites): Promise<void> {
  return onFailingDisk(
    sites,
    (faults, rig, workload) => eachFaultOnce({ faults, rig, workload, errno: "ENOSPC" }),
  );
}

export function enospcForAWhile(sites: Sites): Promise<void> {
  return onFailingDisk(
    sites,
    (faults, rig, workload) =>
      eachFaultForAWhile({ faults, rig, workload, errno: "ENOSPC" }),
  );
}

export function emfileOnce(sites: Sites): Promise<void> {
  return onFailingDisk(sites, async (faults, rig, workload) => {
    for (const path of [",v", "/.p4cache/tmp/", "/store/"]) {
      faults.arm({ op: "open", path, errno: "EMFILE", times: 1 });
      workload.start();
      const what = `an open of ${path} has failed`;
      await met(what, { rig, workload }, () => faults.left === 0);
      await workload.stop();
      await restarted(rig);
    }
  });
}

/** The real thing: the daemon may open nothing at all for a while. */
export function outOfDescriptors(sites: Sites): Promise<void> {
  return sites.run({ config: BUSY }, async (rig, workload) => {
    workload.toleratesErrors = true;
    const limit = (files: string): Promise<void> =>
      command("prlimit", "--pid", `${rig.pid}`, `--nofile=${files}`);
    await limit("3:4096");
    await workFor(workload, 5_000);
    await limit("4096:4096");
    workload.toleratesErrors = false;
    await restarted(rig);
    await rig.reload(AT_REST);
  });
}

/**
 * A daemon is killed at work, and the disk fails while the next start recovers: once, or
 * as long as it takes until nobody tries any more.
 */
export function recoveryFails(sites: Sites): Promise<void> {
  return onFailingDisk(sites, async (faults, rig, workload) => {
    const recoveries: readonly DiskFault[] = [
      { op: "unlink", path: "/.p4cache/tmp/", errno: "EIO", times: 1 },
      { op: "sync", path: "/.p4cache/tmp", errno: "EIO", times: Infinity },
      { op: "write", path: "/.p4cache/manifest/", errno: "ENOSPC", times: 3 },
      { op: "sync", path: "/.p4cache/manifest/", errno: "EIO", times: Infinity },
      { op: "open", path: "/.p4cache/", errno: "EMFILE", times: Infinity },
      { op: "make", path: "/.p4cache/", errno: "ENOSPC", times: Infinity },
    ];
    for (const fault of recoveries) {
      workload.start();
      await until("restores have begun", () => hasEntries(`${rig.depot}/.p4cache/tmp`));
      await rig.end("SIGKILL");
      await Deno.writeTextFile(`${rig.depot}/.p4cache/tmp/abandoned`, "a download");
      faults.arm(fault);
      if (await rig.start() === "gone") {
        const { code } = await rig.end("SIGTERM");
        // A manifest without room is worth another start.
        const isFull = fault.errno === "ENOSPC" && fault.path.includes("manifest");
        strictEqual(
          code,
          isFull ? 3 : 74,
          `${fault.op} of ${fault.path}: ${rig.stderr}`,
        );
        faults.clear();
        strictEqual(await rig.start(), "ready", rig.stderr);
      } else {
        await sleep(500);
        faults.clear();
        await restarted(rig);
      }
      await workload.stop();
    }
  });
}

function hasEntries(directory: string): boolean {
  return [...Deno.readDirSync(directory)].length > 0;
}

/** A restore waits for room, and the daemon lives through a disk without a byte. */
export async function depotDiskFillsUp(sites: Sites): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const disk = await mountTmpfs(cleanup, 48);
  await sites.run({ depot: `${disk}/depot` }, async (rig, workload) => {
    await evictEverything(rig);
    await rig.reload(AT_REST);
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

/** Started on a disk without a byte, the daemon serves what is there and makes room itself. */
export async function depotDiskIsFullAtStart(sites: Sites): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const disk = await mountTmpfs(cleanup, 48);
  await sites.run({ depot: `${disk}/depot` }, async (rig, workload) => {
    await rig.end("SIGKILL");
    await fill(`${disk}/ballast`);
    strictEqual(await rig.start(), "ready", rig.stderr + rig.log.slice(-2_000));
    const client = rig.client();
    for (const path of workload.names.slice(0, 5)) await workload.check(client, path);
    await rig.reload({ max_cache_bytes: 1, low_watermark_bytes: 0 });
    await until("room was made", () => [...rig.names()].some(({ isMarker }) => isMarker));
    await Deno.remove(`${disk}/ballast`);
    await until(
      "everything is evicted",
      () => [...rig.names()].every(({ isMarker }) => isMarker),
    );
    await rig.reload(AT_REST);
    deepStrictEqual(workload.count("lost"), 0);
  });
}
