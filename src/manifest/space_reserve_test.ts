import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import type { DepotPath } from "../core/names.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { firstWrites } from "./schema.ts";
import { ManifestError } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { SpaceReserve, withReserve } from "./space_reserve.ts";

const STAT = {
  sizeBytes: 1,
  mtimeNs: 1n,
  ctimeNs: 1n,
  mode: 0o444,
  uid: 0,
  gid: 0,
  ino: 1n,
  dev: 1n,
};

/** What fails after a commit, and the faults that are told then. */
const FAULTS = {
  "the look at the disk": { breaks: "statfs", told: 1 },
  "who hears that the room is back": { breaks: "onChange", told: 1 },
  "who hears of the fault, too": { breaks: "both", told: 1 },
} as const;

for (const [name, { breaks, told }] of Object.entries(FAULTS)) {
  Deno.test(`a commit that is durable does not fail with ${name}`, async () => {
    const root = await Deno.makeTempDir({ prefix: "p4-cache-reserve-" });
    const directory = `${root}/state`;
    await Deno.mkdir(directory);
    let faults = 0;
    let isBroken = false;
    let isFull = false;
    let nowMs = 1;
    const clock = { ...SYSTEM_CLOCK, monotonicMs: () => nowMs };
    const reserve = new SpaceReserve({
      path: `${directory}/reserve`,
      sizeBytes: 4096,
      clock,
      onChange: () => {
        if (isBroken && breaks !== "statfs") throw new Error("the log is full");
      },
      onFault: () => {
        faults++;
        if (breaks === "both") throw new Error("the log is full");
      },
    });
    reserve.fill();
    const tables = new MemKeyValue();
    await tables.commit(firstWrites());
    const commit = tables.commit.bind(tables);
    tables.commit = async (writes): Promise<void> => {
      if (isFull) {
        isFull = false;
        throw new ManifestError("full", "no room");
      }
      await commit(writes);
    };
    const store = withReserve(tables, reserve);
    const backup = (): Promise<void> => Promise.reject(new Error("no copies"));
    const manifest = new ManifestStore({ store, clock, readOnly: false, backup });
    const write = (path: string): Promise<unknown> =>
      manifest.apply(path as DepotPath, "absent", {
        kind: "written",
        stat: STAT,
        nowS: 1,
      });
    isFull = true;
    await write("a,v");
    isBroken = true;
    if (breaks === "statfs") await Deno.remove(directory, { recursive: true });
    nowMs += 60_000;
    await write("b,v");
    await write("c,v");
    strictEqual(faults, told);
    deepStrictEqual(manifest.paths(null, 10), ["a,v", "b,v", "c,v"]);
    const { kept, counted } = await manifest.recount();
    deepStrictEqual(kept, counted);
    // By their ids, which are not given twice.
    const due = manifest.dirtyDue(Date.now() + 1_000_000, 10).map(({ path }) => path);
    deepStrictEqual(due, ["a,v", "b,v", "c,v"]);
    await manifest.close();
    await Deno.remove(root, { recursive: true });
  });
}

Deno.test("a commit that fails fails, also where the room that was kept cannot be given up", async () => {
  const tables = new MemKeyValue();
  const clock = SYSTEM_CLOCK;
  const reserve = new SpaceReserve({
    path: "/proc/none",
    sizeBytes: 1,
    clock,
    onChange: () => {},
    onFault: () => {},
  });
  reserve.fill();
  const full = new ManifestError("full", "no room");
  tables.commit = () => Promise.reject(full);
  const store = withReserve(tables, reserve);
  await rejects(store.commit([]), full);
});
