/**
 * What is asked while everybody waits reads few rows, however many there are.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../core/names.ts";
import type { KeyValueStore, TableName } from "./key_value.ts";
import type { LocalStat, Manifest } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { firstWrites } from "./schema.ts";

const STAT: LocalStat = {
  sizeBytes: 100,
  mtimeNs: 1n,
  ctimeNs: 2n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 3n,
  dev: 4n,
};

interface Counted {
  readonly manifest: Manifest;
  /** Values that were read of a table since the last call. */
  readCount(table: TableName): number;
}

async function openCounted(): Promise<Counted> {
  const tables = new MemKeyValue();
  await tables.commit(firstWrites());
  const counts = new Map<TableName, number>();
  const count = (table: TableName, more: number): void =>
    void counts.set(table, (counts.get(table) ?? 0) + more);
  const store: KeyValueStore = {
    get: (table, key) => {
      count(table, 1);
      return tables.get(table, key);
    },
    read: (table, key, decode) => {
      count(table, 1);
      return tables.read(table, key, decode);
    },
    range: (table, range) => {
      const found = tables.range(table, range);
      count(table, found.length);
      return found;
    },
    keys: (table, range) => tables.keys(table, range),
    sealedRow: () => null,
    snapshot: () => tables.snapshot(),
    count: (table) => tables.count(table),
    commit: (writes) => tables.commit(writes),
    close: () => tables.close(),
  };
  const manifest = new ManifestStore({
    store,
    clock: { nowMs: () => 1, monotonicMs: () => 1, sleep: () => Promise.resolve() },
    readOnly: false,
    backup: () => Promise.resolve(),
  });
  return {
    manifest,
    readCount(table): number {
      const read = counts.get(table) ?? 0;
      counts.delete(table);
      return read;
    },
  };
}

/** As many rows as are given deadlines, each waiting for its own. */
async function failed(
  manifest: Manifest,
  retriesAtMs: readonly (number | null)[],
): Promise<DepotPath[]> {
  const paths = retriesAtMs.map((_, i) => parseDepotPath(`d/${i},v`));
  await Promise.all(paths.map(async (path, i) => {
    await manifest.apply(path, "absent", { kind: "written", stat: STAT, nowS: 1 });
    const retryAtMs = retriesAtMs[i]!;
    if (retryAtMs === null) return;
    await manifest.apply(path, "any", { kind: "upload-started" });
    await manifest.apply(path, "any", { kind: "upload-failed", retryAtMs });
  }));
  return paths;
}

Deno.test("retries are counted, and those of a far future found, without a look at their rows", async () => {
  const { manifest, readCount } = await openCounted();
  await failed(manifest, Array.from({ length: 600 }, (_, i) => 1_000 + i));
  readCount("rows_by_id");
  strictEqual(manifest.retryCount(), 600);
  deepStrictEqual(
    [manifest.hasRetryAfter(1_598), manifest.hasRetryAfter(1_599)],
    [true, false],
  );
  strictEqual(readCount("rows_by_id"), 0);
  await manifest.retryNow();
  deepStrictEqual([manifest.retryCount(), manifest.hasRetryAfter(0)], [0, false]);
});

Deno.test("due() gives the rows in their order, and reads no more than some ahead", async () => {
  const { manifest, readCount } = await openCounted();
  // New ones wait since 1 s, the others since their deadlines.
  const deadlines = Array.from(
    { length: 1_000 },
    (_, i) => i % 3 === 0 ? null : 2_000 + i,
  );
  const paths = await failed(manifest, deadlines);
  const isNew = (_: unknown, i: number): boolean => deadlines[i] === null;
  const expected = [
    ...paths.filter(isNew),
    ...paths.filter((path, i) => !isNew(path, i)),
  ];
  deepStrictEqual([...manifest.due(5_000)].map(({ path }) => path), expected);
  deepStrictEqual(
    manifest.dirtyDue(5_000, 700).map(({ path }) => path),
    expected.slice(0, 700),
  );
  deepStrictEqual([...manifest.due(1_999)].length, paths.filter(isNew).length);
  readCount("rows_by_id");
  manifest.due(5_000).next();
  const ahead = readCount("rows_by_id");
  ok(ahead <= 512, `${ahead} rows were read`);
});

Deno.test("due() goes on where rows come, change and go between its steps", async () => {
  const { manifest } = await openCounted();
  const paths = await failed(manifest, Array.from({ length: 600 }, () => null));
  const seen: DepotPath[] = [];
  for (const { path } of manifest.due(5_000)) {
    seen.push(path);
    if (seen.length === 1) {
      const written = { kind: "written", stat: STAT, nowS: 1 } as const;
      await manifest.apply(parseDepotPath("new,v"), "absent", written);
      for (const gone of paths.slice(200, 400)) {
        await manifest.apply(gone, "any", { kind: "deleted", nowMs: 1, whiteout: false });
      }
    }
  }
  const rest = seen.filter((path) => !paths.slice(200, 400).includes(path));
  deepStrictEqual(rest, [
    ...paths.slice(0, 200),
    ...paths.slice(400),
    parseDepotPath("new,v"),
  ]);
});

Deno.test("a change of a file with thousands of old versions reads none of them", async () => {
  const { manifest, readCount } = await openCounted();
  const path = parseDepotPath("d/a,v");
  const store = async (key: string): Promise<void> => {
    await manifest.apply(path, "any", { kind: "written", stat: STAT, nowS: 1 });
    await manifest.apply(path, "any", { kind: "upload-started" });
    const stored = {
      key: objectKeyOf(key),
      hash: "ab".repeat(32),
      sizeBytes: 100,
      mtimeNs: 1n,
      versionId: null,
    };
    await manifest.apply(path, "any", { kind: "uploaded", stored, stat: STAT, nowMs: 1 });
  };
  for (let i = 0; i < 1_000; i++) await store(`d/a,v.p4cv-${i}`);
  readCount("tombstones");
  await store("d/a,v.p4cv-new");
  ok(readCount("tombstones") <= 1, "the one that is written");
  // The object of one of them is current again, and only that one goes.
  await store("d/a,v.p4cv-500");
  ok(readCount("tombstones") <= 3);
  deepStrictEqual(
    manifest.tombstonesOf(path).map(({ stored }) => stored.key).slice(498, 502),
    [498, 499, 501, 502].map((i) => `d/a,v.p4cv-${i}`),
  );
  strictEqual(manifest.counters().tombstones, 1_000);
  readCount("tombstones");
  const [due] = manifest.tombstonesDue(1, 1);
  await manifest.tombstoneRemoved(due!);
  ok(readCount("tombstones") < 10, "nor does a removal");
  strictEqual(manifest.counters().tombstones, 999);
});

Deno.test("byArrival() passes over no row that is renamed between its pages", async () => {
  const { manifest } = await openCounted();
  const paths = await failed(manifest, Array.from({ length: 30 }, () => null));
  const seen: DepotPath[] = [];
  for (let page = manifest.byArrival(null, 10); page.length > 0;) {
    seen.push(...page.map(({ path }) => path));
    if (seen.length === 10) {
      await manifest.move(paths[29]!, parseDepotPath("a,v"), 1);
      await manifest.exchange(paths[0]!, paths[20]!);
      await manifest.apply(paths[9]!, "any", {
        kind: "deleted",
        nowMs: 1,
        whiteout: false,
      });
    }
    page = manifest.byArrival(page.at(-1)!, 10);
  }
  // The row that was at 20 is at 0 now.
  const expected = [...paths.slice(0, 20), paths[0]!, ...paths.slice(21, 29)];
  deepStrictEqual(seen, [...expected, parseDepotPath("a,v")]);
});
