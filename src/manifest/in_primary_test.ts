import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../core/names.ts";
import type { LocalStat, Manifest, StoredVersion } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";

const A = parseDepotPath("d/a,v");
const B = parseDepotPath("d/b,v");
const C = parseDepotPath("d/c,v");
const OTHER = parseDepotPath("d/other,v");

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

const STORED: StoredVersion = {
  key: objectKeyOf("d/a,v"),
  hash: "ab".repeat(32),
  sizeBytes: 100,
  mtimeNs: 1n,
  versionId: null,
};

/** A row of an object that only the secondary has. */
async function flagged(
  manifest: Manifest,
  path: DepotPath,
  stored = STORED,
): Promise<void> {
  await manifest.apply(path, "any", {
    ...{ kind: "adopted", stored, stat: STAT, resident: false, nowS: 1 },
    flags: { secondaryOnly: true },
  });
}

function remove(manifest: Manifest, path: DepotPath): Promise<unknown> {
  return manifest.apply(path, "any", { kind: "deleted", nowMs: 1_000, whiteout: false });
}

function isFlagged(manifest: Manifest, path: DepotPath): boolean | undefined {
  return manifest.get(path)?.flags.secondaryOnly;
}

Deno.test("inPrimary() ends the flag of each row and tombstone of the object, and of no other", async () => {
  const manifest = await openMemManifest();
  await flagged(manifest, B);
  await remove(manifest, B);
  await flagged(manifest, OTHER, { ...STORED, hash: "cd".repeat(32) });
  await flagged(manifest, A);
  await flagged(manifest, C);
  deepStrictEqual(manifest.tombstonesDue(1_000, 10), []);
  await manifest.inPrimary(STORED);
  deepStrictEqual([A, OTHER, C].map((path) => isFlagged(manifest, path)), [
    false,
    true,
    false,
  ]);
  deepStrictEqual(manifest.tombstonesOf(B).map((one) => one.secondaryOnly), [false]);
  for (const path of [A, OTHER, C]) await remove(manifest, path);
  deepStrictEqual(
    manifest.tombstonesDue(999, 10),
    [],
    "the grace counts from the delete",
  );
  deepStrictEqual(
    manifest.tombstonesDue(1_000, 10).map(({ path }) => path),
    [B, A, C],
  );
});

Deno.test("inPrimary() follows a row that is renamed or deleted meanwhile", async () => {
  const manifest = await openMemManifest();
  await flagged(manifest, A);
  await Promise.all([manifest.move(A, B, 1), manifest.inPrimary(STORED)]);
  strictEqual(isFlagged(manifest, B), false);
  await flagged(manifest, C);
  await Promise.all([remove(manifest, C), manifest.inPrimary(STORED)]);
  deepStrictEqual(manifest.tombstonesOf(C).map((one) => one.secondaryOnly), [false]);
});

Deno.test("tombstones() gives all of them page by page, and those with later ids are the new ones", async () => {
  const manifest = await openMemManifest();
  for (const path of [C, A, B, A]) {
    await flagged(manifest, path, { ...STORED, key: objectKeyOf(`x/${path}`) });
    await remove(manifest, path);
  }
  const newId = manifest.nextTombstoneId();
  const [first, second] = manifest.tombstones(null, 2);
  deepStrictEqual([first!.path, second!.path], [A, B]);
  const rest = manifest.tombstones(second!, 10);
  deepStrictEqual(rest.map(({ path }) => path), [C]);
  deepStrictEqual(manifest.tombstones(rest.at(-1)!, 10), []);
  strictEqual(manifest.tombstones(null, 10).every(({ id }) => id < newId), true);
  await flagged(manifest, B);
  await remove(manifest, B);
  const isNew = manifest.tombstones(null, 10).filter(({ id }) => id >= newId);
  deepStrictEqual(isNew.map(({ path, stored }) => [path, stored.key]), [[B, STORED.key]]);
});

Deno.test("postponeTombstones() gives their grace again to those, too, whose object is not in the primary yet", async () => {
  const manifest = await openMemManifest();
  for (let i = 0; i < 150; i++) {
    const name = `d/${i},v`;
    await flagged(manifest, parseDepotPath(name), { ...STORED, key: objectKeyOf(name) });
    await remove(manifest, parseDepotPath(name));
  }
  await manifest.postponeTombstones(5_000);
  for (const { stored } of manifest.tombstones(null, 1_000)) {
    await manifest.inPrimary(stored);
  }
  deepStrictEqual(manifest.tombstonesDue(4_999, 1_000), []);
  strictEqual(manifest.tombstonesDue(5_000, 1_000).length, 150);
});
