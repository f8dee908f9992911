import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { entryCrc32 } from "../../src/manifest/crc32c.ts";
import {
  type KeyValueStore,
  schemaOf,
  TABLES,
  type Write,
} from "../../src/manifest/key_value.ts";
import {
  decodeLedger,
  decodeMeta,
  encodeLedger,
  type Ledger,
  replaceInSum,
  wholeSumOf,
} from "../../src/manifest/ledger.ts";
import { DATA_FILE, LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { migrate } from "../../src/manifest/migrate.ts";
import { checkPages } from "../../src/manifest/page_faults.ts";
import { metaWrite, MIGRATION_FROM, SCHEMA_VERSION } from "../../src/manifest/schema.ts";
import {
  adopt,
  ALL_ENTRIES,
  asSchema2,
  asSchema3,
  expectNoFaults,
  expectSchema1,
  makeSchema1,
  pathAt,
} from "./older_manifests.ts";

const ROWS = 2_100;

/** Rows, some with another path's key, and tombstones. @returns Their paths and entries. */
async function makeRows(directory: string): Promise<unknown[]> {
  const manifest = await openManifest({ directory });
  const [utf8, latin1] = [parseDepotPath("d/\xc3\xa9,v"), parseDepotPath("d/\xe9,v")];
  await Promise.all(Array.from({ length: ROWS }, async (_, index) => {
    const path = pathAt(index);
    await adopt(manifest, path, objectKeyOf(path));
    const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
    if (index % 5 === 0) await manifest.apply(path, "any", deleted);
  }));
  await adopt(manifest, utf8, objectKeyOf("d/é,v"));
  await manifest.move(utf8, latin1, 1);
  const entries = manifest.entries("", null, 10_000);
  await manifest.close();
  return entries;
}

async function expectRows(directory: string, rows: unknown[]): Promise<void> {
  const manifest = await openManifest({ directory });
  deepStrictEqual(manifest.entries("", null, 10_000), rows);
  const { kept, counted } = await manifest.recount();
  deepStrictEqual(kept, counted);
  await manifest.close();
  await expectNoFaults(directory);
}

/** How a manifest of each older schema is made, which resolves with how it is looked at later. */
const OLDER: Record<number, (directory: string) => Promise<() => Promise<void>>> = {
  1: async (directory) => {
    await makeSchema1(directory);
    return () => expectSchema1(directory);
  },
  2: async (directory) => {
    const rows = await makeRows(directory);
    await asSchema2(directory, "d/\xc3\xa9,v\0");
    return () => expectRows(directory, rows);
  },
  3: async (directory) => {
    const rows = await makeRows(directory);
    await asSchema3(directory);
    return () => expectRows(directory, rows);
  },
};

/** Calls `seen` with the data file as a kill after each commit but the last would leave it. */
async function forEachKill(
  from: number,
  seen: (directory: string, expectAll: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-stopped-" });
  const directory = `${root}/manifest`;
  const data = `${directory}/${DATA_FILE}`;
  try {
    const expectAll = await OLDER[from]!(directory);
    const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
    const left: Uint8Array[] = [];
    await migrate(
      telling(store, async () => void left.push(await Deno.readFile(data))),
      from,
    );
    await store.close();
    ok(left.length > 3, `${left.length} commits`);
    for (const bytes of left.slice(0, -1)) {
      await Deno.remove(directory, { recursive: true });
      await Deno.mkdir(directory);
      await Deno.writeFile(data, bytes);
      await seen(directory, expectAll);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function telling(store: KeyValueStore, committed: () => Promise<void>): KeyValueStore {
  return {
    get: (table, key) => store.get(table, key),
    keys: (table, range) => store.keys(table, range),
    read: (table, key, decode) => store.read(table, key, decode),
    sealedRow: (path) => store.sealedRow(path),
    range: (table, range) => store.range(table, range),
    snapshot: () => store.snapshot(),
    count: (table) => store.count(table),
    close: () => store.close(),
    commit: async (writes) => {
      await store.commit(writes);
      await committed();
    },
  };
}

for (const from of [1, 2, 3]) {
  Deno.test(`a migration from schema ${from} that was killed after any commit is told by all who look, and goes on`, () =>
    forEachKill(from, async (directory, expectAll) => {
      // A build of before knows the number alone, and looks at the pages first.
      strictEqual(checkPages(directory, null)?.version, SCHEMA_VERSION);
      const isTold = {
        fault: "older",
        message: /on its way from schema [123] to 4; start the daemon/,
      };
      await rejects(openManifest({ directory, readOnly: true }), isTold);
      await rejects(Array.fromAsync(checkManifest(directory)), isTold);
      const ofCopy = checkManifest(directory, { takesOlder: true });
      deepStrictEqual(await Array.fromAsync(ofCopy), []);
      await expectAll();
    }));

  Deno.test(`a migration from schema ${from} that an older build began, and that was killed after any commit, goes on`, () =>
    forEachKill(from, async (directory, expectAll) => {
      await asOlderBuildLeftIt(directory);
      await expectAll();
    }));
}

/**
 * The old version until the last commit; what schema 1 had was in no sum until it was brought
 * over, and all that was in one was in a single one.
 */
async function asOlderBuildLeftIt(directory: string): Promise<void> {
  const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
  const from = decodeMeta(MIGRATION_FROM, store.get("meta", MIGRATION_FROM)!);
  await store.commit([
    metaWrite("schema_version", from),
    { table: "meta", key: MIGRATION_FROM, value: null },
    countersOfBefore(store, from === "1"),
  ]);
  await store.close();
}

function countersOfBefore(store: KeyValueStore, isOfSchema1: boolean): Write {
  const after = store.get("meta", "migration_after");
  if (isOfSchema1 && after === null) {
    return { table: "meta", key: "counters", value: null };
  }
  const { rowsSum: _, ...ledger } = ledgerOf(store);
  let contentSum = wholeSumOf(ledgerOf(store));
  if (isOfSchema1) {
    const from = `${decodeMeta("migration_after", after!)}\0`;
    for (const { key, value } of store.range("files_by_path", { ...ALL_ENTRIES, from })) {
      contentSum = replaceInSum(contentSum, entryCrc32(key, value), 0);
    }
  }
  return metaWrite("counters", JSON.stringify({ ...ledger, contentSum }));
}

function ledgerOf(store: KeyValueStore): Ledger {
  return decodeLedger(decodeMeta("counters", store.get("meta", "counters")!));
}

async function inNewDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-sums-" });
  try {
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("builds that know no rows_by_id find the sum that they compare, so that they say that it is newer", () =>
  inNewDirectory(async (directory) => {
    await makeRows(directory);
    const store = await LmdbKeyValue.open(directory, { readOnly: true, create: false });
    let sum = 0;
    for (const table of TABLES) {
      if (schemaOf(table) > 3 || table === "meta") continue;
      for (const { key, value } of store.range(table, ALL_ENTRIES)) {
        sum = replaceInSum(sum, 0, entryCrc32(key, value));
      }
    }
    strictEqual(ledgerOf(store).contentSum, sum);
    await store.close();
  }));

Deno.test("a manifest whose sums are one, as builds before had it, is taken and changed", () =>
  inNewDirectory(async (directory) => {
    await makeRows(directory);
    const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
    await store.commit([countersOfBefore(store, false)]);
    await store.close();
    const manifest = await openManifest({ directory });
    const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
    await manifest.apply(pathAt(1), "any", deleted);
    await manifest.close();
    await expectNoFaults(directory);
  }));

Deno.test("of a newer manifest, which may sum other tables, is said that it is newer", () =>
  inNewDirectory(async (directory) => {
    await makeRows(directory);
    const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
    const ledger = ledgerOf(store);
    await store.commit([
      metaWrite("schema_version", String(SCHEMA_VERSION + 1)),
      metaWrite(
        "counters",
        encodeLedger({ ...ledger, contentSum: ledger.contentSum + 1 }),
      ),
    ]);
    await store.close();
    for (const readOnly of [false, true]) {
      await rejects(openManifest({ directory, readOnly }), { fault: "newer" });
    }
  }));
