import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { statfsSync } from "node:fs";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { type DepotPath, objectKeyOf } from "../core/names.ts";
import { NoSpaceError } from "../engine/space.ts";
import { copyNamesOf } from "../manifest/copies.ts";
import { decodeLedger, decodeMeta, encodeLedger } from "../manifest/ledger.ts";
import { LmdbKeyValue } from "../manifest/lmdb_key_value.ts";
import { openManifest } from "../manifest/lmdb_manifest.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { LogRecord } from "../obs/log_record.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { metaWrite } from "../manifest/schema.ts";
import { createMetrics } from "../obs/metrics.ts";
import { nativeFile } from "../posix/native_files.ts";
import { openPosix } from "../posix/posix.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { type HousekeepingDeps, keepHouse } from "./housekeeping.ts";
import { storeCopiesOf } from "./store_copies.ts";

const DAY_MS = 86_400_000;
const MIB = 1024 * 1024;

interface House extends AsyncDisposable {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly deps: HousekeepingDeps;
  /** One round, at this time. */
  roundAt(time: string | number): Promise<void>;
  readonly records: readonly LogRecord[];
  readonly messages: () => string[];
}

async function openHouse(root?: string): Promise<House> {
  const place = root ?? await Deno.makeTempDir({ prefix: "p4-cache-house-" });
  const directory = `${place}/manifest`;
  const manifest = await openManifest({ directory });
  const posix = openPosix(nativeFile("libp4posix.so"));
  const log = createMemoryLogger();
  const deps: HousekeepingDeps = {
    manifest,
    manifestDirectory: directory,
    posix,
    store: openMemBackend(),
    withRoom: (_, work) => work(),
    metrics: createMetrics(),
    log,
    clock: new ManualClock(),
    signal: new AbortController().signal,
  };
  return {
    directory,
    manifest,
    deps,
    roundAt: (time) => roundOf(deps, time),
    records: log.records,
    messages: () => log.records.map(({ message }) => message),
    async [Symbol.asyncDispose](): Promise<void> {
      await manifest.close();
      posix[Symbol.dispose]();
      if (root === undefined) await Deno.remove(place, { recursive: true });
    },
  };
}

async function roundOf(deps: HousekeepingDeps, time: string | number = 0): Promise<void> {
  const ended = new AbortController();
  const clock = new ManualClock(new Date(time).toISOString());
  // It sleeps when the round is over.
  clock.sleep = () => Promise.resolve(ended.abort());
  await keepHouse({ ...deps, clock, signal: ended.signal });
}

Deno.test("a day of a wrong clock stops no copy, and its copies go first", async () => {
  await using house = await openHouse();
  const { directory, deps } = house;
  const store = deps.store!;
  const firstMs = Date.parse("2026-01-01T10:00:00Z");
  await house.roundAt(firstMs);
  await house.roundAt("2031-01-01T10:00:00Z");
  for (let day = 1; day <= 10; day++) {
    const atMs = firstMs + day * DAY_MS;
    await house.roundAt(atMs);
    const name = `${new Date(atMs).toISOString().slice(0, 10)}T10-00-00Z`;
    ok(copyNamesOf(directory).includes(name));
    ok((await storeCopiesOf(store)).includes(name), name);
  }
  const kept = ["2026-01-09", "2026-01-10", "2026-01-11"].map((it) => `${it}T10-00-00Z`);
  deepStrictEqual(copyNamesOf(directory).sort(), kept);
  deepStrictEqual((await storeCopiesOf(store)).sort(), kept);
});

Deno.test("a clock that is set back keeps the newest copies and those that it makes", async () => {
  await using house = await openHouse();
  const { directory, deps } = house;
  for (const day of ["2026-01-01", "2026-01-02", "2026-01-03", "1970-01-05"]) {
    await house.roundAt(`${day}T10:00:00Z`);
  }
  const kept = ["1970-01-05", "2026-01-02", "2026-01-03"].map((it) => `${it}T10-00-00Z`);
  deepStrictEqual(copyNamesOf(directory).sort(), kept);
  deepStrictEqual((await storeCopiesOf(deps.store!)).sort(), kept);
});

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

/** On a file system of its own; false where that cannot be had. */
async function onSmallDisk(
  sizeBytes: number,
  work: (root: string) => Promise<void>,
): Promise<boolean> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-house-" });
  const { success } = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", root],
    stderr: "null",
  }).output();
  try {
    if (success) await work(root);
  } finally {
    if (success) await new Deno.Command("umount", { args: [root] }).output();
    await Deno.remove(root);
  }
  return success;
}

Deno.test("a copy for which there is no room leaves nothing, is counted, and is made later", async (t) => {
  const isMounted = await onSmallDisk(45 * MIB, async (root) => {
    await using house = await openHouse(root);
    const { directory, manifest, deps } = house;
    const rows = Array.from({ length: 10_000 }, (_, i) => write(manifest, `d/${i},v`));
    await Promise.all(rows);
    const { size } = await Deno.stat(`${directory}/data.mdb`);
    const { bavail, bsize } = statfsSync(root);
    const filler = `${root}/filler`;
    await Deno.writeFile(filler, new Uint8Array(bavail * bsize - size / 2));
    // What a crash has left of another one.
    await Deno.mkdir(`${root}/manifest-copies/unchecked.new`, { recursive: true });
    await house.roundAt("2026-01-01T10:00:00Z");
    deepStrictEqual(namesIn(`${root}/manifest-copies`), []);
    match(house.messages().join("\n"), /cannot copy the manifest: .* are free there/);
    match(await deps.metrics.render(), /p4cache_manifest_copy_failures_total 1\n/);
    await write(manifest, "e,v");
    await Deno.remove(filler);
    await house.roundAt("2026-01-01T11:00:00Z");
    strictEqual(copyNamesOf(directory).length, 1);
  });
  if (isMounted) return;
  const name = "mounting a small file system needs root";
  await t.step({ name, ignore: true, fn(): void {} });
});

Deno.test("a copy waits for room, and one that is not sound goes", async () => {
  await using house = await openHouse();
  const { directory, deps } = house;
  const asked: number[] = [];
  const refused: HousekeepingDeps = {
    ...deps,
    withRoom: (sizeBytes) => {
      asked.push(sizeBytes);
      return Promise.reject(new NoSpaceError("eviction made no room"));
    },
  };
  await roundOf(refused);
  deepStrictEqual(asked, [(await Deno.stat(`${directory}/data.mdb`)).size]);
  deepStrictEqual(copyNamesOf(directory), []);
  const torn: HousekeepingDeps = {
    ...deps,
    withRoom: async (_, work) => {
      const done = await work();
      const data = `${directory}-copies/unchecked/data.mdb`;
      await Deno.truncate(data, (await Deno.stat(data)).size / 2);
      return done;
    },
  };
  await roundOf(torn);
  deepStrictEqual(namesIn(`${directory}-copies`), []);
  deepStrictEqual(
    house.messages().map((it) => it.replace(/ \(.*/, "")),
    [
      "cannot copy the manifest: eviction made no room",
      "cannot copy the manifest: the copy is not sound",
    ],
  );
});

Deno.test("a stop waits for no copy of the manifest, which the next round begins anew", async () => {
  await using house = await openHouse();
  const { directory, deps } = house;
  const ended = new AbortController();
  const begun = Promise.withResolvers<void>();
  const manifest: Manifest = Object.create(house.manifest, {
    recount: { value: () => house.manifest.recount() },
    backup: {
      value: async (unchecked: string) => {
        await Deno.mkdir(`${unchecked}.new`);
        begun.resolve();
        await new Promise(() => {});
      },
    },
  });
  const round = keepHouse({ ...deps, manifest, signal: ended.signal });
  await begun.promise;
  ended.abort();
  await round;
  deepStrictEqual(house.messages(), []);
  strictEqual(/copy_failures_total [1-9]/.test(await deps.metrics.render()), false);
  await house.roundAt("2026-01-01T10:00:00Z");
  deepStrictEqual(namesIn(`${directory}-copies`), copyNamesOf(directory));
  strictEqual(copyNamesOf(directory).length, 1);
});

Deno.test("counters that a recount does not give are counted and told, each time anew", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-house-" });
  await using _root = {
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
  {
    await using house = await openHouse(root);
    await write(house.manifest, "a,v");
    await house.roundAt(0);
    deepStrictEqual(house.messages().filter((it) => /counters/.test(it)), []);
  }
  const store = await LmdbKeyValue.open(`${root}/manifest`, {
    readOnly: false,
    create: false,
  });
  const kept = decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
  const drifted = { ...kept, cleanFiles: 7, residentBytes: 5 };
  await store.commit([metaWrite("counters", encodeLedger(drifted))]);
  await store.close();
  await using house = await openHouse(root);
  const line = /^p4cache_manifest_counter_drift_total (\d+)$/m;
  for (const total of ["2", "4"]) {
    await house.roundAt(0);
    strictEqual(line.exec(await house.deps.metrics.render())?.[1], total);
  }
  const told = house.records.filter(({ message }) => /counters are not/.test(message));
  deepStrictEqual(
    told.map(({ level, fields }) => [level, fields]),
    Array(2).fill(["error", { counters: "cleanFiles residentBytes" }]),
  );
});

async function write(manifest: Manifest, path: string): Promise<void> {
  await manifest.apply(path as DepotPath, "any", {
    kind: "adopted",
    stored: {
      key: objectKeyOf(path),
      hash: "0".repeat(64),
      sizeBytes: 1,
      mtimeNs: 1n,
      versionId: null,
    },
    resident: false,
    stat: {
      sizeBytes: 1,
      mtimeNs: 1n,
      ctimeNs: 1n,
      mode: 0o444,
      uid: 0,
      gid: 0,
      ino: 1n,
      dev: 1n,
    },
    flags: {},
    nowS: 1,
  });
}
