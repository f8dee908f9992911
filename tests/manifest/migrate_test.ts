import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { migrate } from "../../src/manifest/migrate.ts";
import {
  adopt,
  ALL_ENTRIES,
  asSchema2,
  asSchema3,
  COUNT,
  expectNoFaults,
  expectSchema1,
  makeSchema1,
  pathAt,
  removeEntries,
  stoppingAfter,
  UNKNOWN,
} from "./older_manifests.ts";

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  try {
    await makeSchema1(`${root}/manifest`);
    await run(`${root}/manifest`);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("a manifest of schema 1, with rows of every older version, is brought over", () =>
  inDirectory(expectSchema1));

Deno.test("a migration that stops after any step goes on where it was", () =>
  inDirectory(async (directory) => {
    for (let step = 1; step <= 2; step++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 1), /stopped/);
      await store.close();
    }
    await expectSchema1(directory);
  }));

Deno.test("a reader refuses schema 1 and says who brings it over", () =>
  inDirectory(async (directory) => {
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "older",
      message: /start it first/,
    });
  }));

Deno.test("of schema 2, rows whose path only looks like their key get their entry, and tombstones theirs", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  const directory = `${root}/manifest`;
  const [utf8, latin1] = [parseDepotPath("d/\xc3\xa9,v"), parseDepotPath("d/\xe9,v")];
  const key = objectKeyOf("d/é,v");
  try {
    const manifest = await openManifest({ directory });
    const all = Array.from({ length: COUNT }, (_, index) => index);
    await Promise.all(all.map(async (index) => {
      const path = parseDepotPath(`e/${index}\xe9,v`);
      await adopt(manifest, path, objectKeyOf(`.p4cache-bytes/e/${index}%E9,v`));
      await adopt(manifest, pathAt(index), objectKeyOf(`e/${index}é,v`));
      const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
      await manifest.apply(pathAt(index), "any", deleted);
    }));
    await adopt(manifest, utf8, key);
    await manifest.move(utf8, latin1, 1);
    await manifest.close();
    await asSchema2(directory, "d/\xc3\xa9,v\0");
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "older",
      message: /its schema is 2, .*start it first/,
    });

    // One step further each time.
    for (let commits = 1; commits <= 3; commits++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 2), /stopped/);
      await store.close();
    }
    const again = await openManifest({ directory });
    deepStrictEqual([again.isNamed(key), again.format().schemaVersion], [true, 4]);
    for (let index = 0; index < COUNT; index++) {
      strictEqual(again.isBuried(objectKeyOf(`e/${index}é,v`)), true);
    }
    await again.close();
    await expectNoFaults(directory);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("rows of schema 3 are brought to a table of their own, in steps", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-migrate-" });
  const directory = `${root}/manifest`;
  const indexes = Array.from({ length: 2_500 }, (_, index) => index);
  try {
    const manifest = await openManifest({ directory });
    await Promise.all(indexes.map((index) => {
      return adopt(manifest, pathAt(index), objectKeyOf(pathAt(index)));
    }));
    const stat = { ...UNKNOWN, sizeBytes: 7 };
    await manifest.apply(pathAt(5), 1, { kind: "written", stat, nowS: 9 });
    const expected = manifest.entries("", null, 10_000).map(({ entry }) => entry);
    await manifest.close();
    await asSchema3(directory);
    await rejects(openManifest({ directory, readOnly: true }), {
      fault: "older",
      message: /its schema is 3, .*start it first/,
    });

    // One step further each time: it says that it begins; the third after that has moved all.
    for (let commits = 0; commits <= 3; commits++) {
      const store = await LmdbKeyValue.open(directory, { readOnly: false, create: true });
      await rejects(migrate(stoppingAfter(store, 1), 3), /stopped/);
      const moved = store.keys("rows_by_id", ALL_ENTRIES).length;
      strictEqual(moved, Math.min(commits * 1_024, indexes.length));
      await store.close();
    }
    const again = await openManifest({ directory });
    strictEqual(again.format().schemaVersion, 4);
    const entries = again.entries("", null, 10_000);
    deepStrictEqual(entries.map(({ path }) => path), indexes.map(pathAt));
    deepStrictEqual(entries.map(({ entry }) => entry), expected);
    const { kept, counted } = await again.recount();
    deepStrictEqual(kept, counted);
    await again.close();
    await expectNoFaults(directory);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("check-manifest tells entries by key that are missing", async () => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-by-key-" });
  const directory = `${root}/manifest`;
  const [utf8, latin1] = [parseDepotPath("d/\xc3\xa9,v"), parseDepotPath("d/\xe9,v")];
  try {
    const manifest = await openManifest({ directory });
    await adopt(manifest, utf8, objectKeyOf("d/é,v"));
    await manifest.move(utf8, latin1, 1);
    await adopt(manifest, pathAt(1), objectKeyOf(pathAt(1)));
    const deleted = { kind: "deleted", nowMs: 1, whiteout: false } as const;
    await manifest.apply(pathAt(1), "any", deleted);
    await manifest.close();
    await expectNoFaults(directory);
    await removeEntries(directory, "d/\xc3\xa9,v\0");
    const places = [];
    for await (const { where } of checkManifest(directory)) places.push(where);
    deepStrictEqual(places, ["keys_elsewhere", "tombstones_by_key"]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
