import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type DepotPath,
  firstKeyFor,
  isManaged,
  objectKeyOf,
  parseDepotPath,
  versionKeyFor,
} from "../core/names.ts";
import type { LocalStat, Manifest, MetaName } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";
import { encodeMoving, MOVING } from "./moving.ts";
import { rebuildManifest } from "./rebuild.ts";
import type { RebuildResult } from "./rebuild_run.ts";
import { chooseVersion, planUnknownFile, storedVersionOf } from "./rebuild_choice.ts";
import type {
  LocalThing,
  RebuildDepot,
  RebuildObject,
  RebuildStore,
} from "./rebuild_sides.ts";

const A = parseDepotPath("d/a,v");
const KEY = firstKeyFor(A, () => "");
const LATER_KEY = versionKeyFor(KEY, "b".repeat(64));

function statOf(version: number): LocalStat {
  return {
    sizeBytes: 10 + version,
    mtimeNs: BigInt(version) * 1_000n,
    ctimeNs: BigInt(version),
    mode: 0o444,
    uid: 1,
    gid: 2,
    ino: BigInt(100 + version),
    dev: 1n,
  };
}

function hashOf(version: number): string {
  return version.toString(16).padStart(64, "0");
}

function objectOf(version: number, key: string, storedAtMs = version): RebuildObject {
  const { sizeBytes, mtimeNs, mode, uid, gid } = statOf(version);
  return {
    key: objectKeyOf(key),
    sizeBytes,
    storedAtMs,
    versionId: null,
    metadata: { hash: hashOf(version), mtimeNs, mode, uid, gid, path: null },
  };
}

function marker(version: number): LocalThing {
  return { kind: "marker", stat: { ...statOf(version), ino: 7n } };
}

function file(version: number): LocalThing {
  return { kind: "file", stat: statOf(version) };
}

/** Writes version `n` of A and uploads it under `key`. */
async function store(manifest: Manifest, n: number, key: string): Promise<void> {
  const stat = statOf(n);
  await manifest.apply(A, "any", { kind: "written", stat, nowS: n });
  await manifest.apply(A, "any", { kind: "upload-started" });
  await manifest.apply(A, "any", {
    kind: "uploaded",
    stored: {
      key: objectKeyOf(key),
      hash: hashOf(n),
      sizeBytes: stat.sizeBytes,
      mtimeNs: stat.mtimeNs,
      versionId: null,
    },
    stat,
    nowMs: n,
  });
}

interface World {
  readonly objects: readonly RebuildObject[];
  readonly things: ReadonlyMap<DepotPath, LocalThing>;
  /** Absent: there is none, or it is left out. */
  readonly secondary?: readonly RebuildObject[];
}

function storeOf(objects: readonly RebuildObject[]): RebuildStore {
  return {
    async *list(): AsyncGenerator<RebuildObject> {
      // As most stores do: without metadata.
      for (const object of objects) {
        yield await Promise.resolve({ ...object, metadata: null });
      }
    },
    head: (key) => Promise.resolve(objects.find((one) => one.key === key) ?? null),
  };
}

function depotOf(things: ReadonlyMap<DepotPath, LocalThing>): RebuildDepot {
  return {
    look: (path) => Promise.resolve(things.get(path) ?? null),
    async *walk(): AsyncGenerator<{ path: DepotPath; thing: LocalThing }> {
      for (const [path, thing] of things) {
        if (isManaged(path, "archives")) yield await Promise.resolve({ path, thing });
      }
    },
  };
}

function rebuild(
  manifest: Manifest,
  { objects, things, secondary }: World,
): Promise<RebuildResult> {
  return rebuildManifest({
    manifest,
    depot: depotOf(things),
    owner: { uid: 501, gid: 502 },
    manage: "archives",
    nowMs: () => 5_000_000,
    store: storeOf(objects),
    secondary: secondary === undefined ? null : storeOf(secondary),
  });
}

Deno.test("a marker and its object become an evicted row", async () => {
  const manifest = await openMemManifest();
  const things = new Map([[A, marker(1)]]);
  const result = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  const entry = manifest.get(A)!;
  deepStrictEqual([entry.state, entry.resident], ["clean", false]);
  strictEqual(entry.stored!.hash, hashOf(1));
  strictEqual(entry.local.ino, 7n);
  deepStrictEqual(result.findings, []);
});

Deno.test("of several versions the marker says which, also when it is the older one", async () => {
  for (const version of [1, 2]) {
    const manifest = await openMemManifest();
    const objects = [objectOf(1, KEY), objectOf(2, LATER_KEY)];
    for (const order of [objects, objects.toReversed()]) {
      await rebuild(manifest, {
        objects: order,
        things: new Map([[A, marker(version)]]),
      });
      strictEqual(manifest.get(A)!.stored!.hash, hashOf(version));
    }
  }
});

Deno.test("without anything on the disk the later version is taken, and reported", async () => {
  const manifest = await openMemManifest();
  const objects = [objectOf(2, LATER_KEY), objectOf(1, KEY)];
  const { findings } = await rebuild(manifest, { objects, things: new Map() });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(2));
  deepStrictEqual(findings, [{ kind: "chosen", path: A, key: LATER_KEY }]);
});

Deno.test("a newer, longer file is dirty and keeps the stored version to fall back to", async () => {
  const manifest = await openMemManifest();
  const things = new Map([[A, file(3)]]);
  await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  const entry = manifest.get(A)!;
  deepStrictEqual([entry.state, entry.resident], ["dirty", true]);
  strictEqual(entry.stored!.hash, hashOf(1));
});

/** Versions 1, 5 and 9 in the store, numbered or not; nothing says that they are old. */
function versions(numbered: boolean): RebuildObject[] {
  return [1, 5, 9].map((version) => {
    const key = version === 1 ? KEY : versionKeyFor(KEY, `${version}`.repeat(64));
    const object = objectOf(version, key);
    return numbered ? withGeneration(object, version) : object;
  });
}

function assertInConflict(
  manifest: Manifest,
  { findings, counts }: RebuildResult,
  local: LocalThing,
): void {
  const { state, resident, flags, stored, local: known } = manifest.get(A)!;
  deepStrictEqual([state, resident, flags.conflict], ["dirty", true, true]);
  deepStrictEqual([stored!.hash, known], [hashOf(9), local.stat]);
  deepStrictEqual(manifest.dirtyDue(9_000_000, 10), []);
  deepStrictEqual(manifest.conflicts(null, 10).map(({ path }) => path), [A]);
  deepStrictEqual(manifest.tombstonesDue(9_000_000_000, 10), []);
  deepStrictEqual(findings.filter(({ kind }) => kind === "conflict"), [
    { kind: "conflict", path: A },
  ]);
  strictEqual(counts.conflict, 1);
}

Deno.test("an older file, from a backup, is in conflict with the newest object, whatever is known of it", async () => {
  for (const numbered of [true, false]) {
    // The backup's version may still be in the store, or not.
    for (const version of [3, 5]) {
      const manifest = await openMemManifest();
      const things = new Map([[A, file(version)]]);
      const objects = versions(numbered);
      for (const order of [objects, objects.toReversed()]) {
        // The second time as after a rebuild that was stopped.
        assertInConflict(
          manifest,
          await rebuild(manifest, { objects: order, things }),
          file(version),
        );
      }
    }
  }
});

Deno.test("an older file is in conflict also where the copy knows the newest version", async () => {
  for (const isEvicted of [true, false]) {
    const manifest = await openMemManifest();
    const [first, old, newest] = versions(true);
    await store(manifest, 1, first!.key);
    await store(manifest, 5, old!.key);
    await store(manifest, 9, newest!.key);
    if (isEvicted) {
      await manifest.apply(A, "any", { kind: "evicted", marker: marker(9).stat });
    }
    const things = new Map([[A, file(5)]]);
    const result = await rebuild(manifest, { objects: versions(true), things });
    const { stored, flags } = manifest.get(A)!;
    deepStrictEqual([stored!.hash, flags.conflict], [hashOf(9), true]);
    deepStrictEqual(result.findings, [{ kind: "conflict", path: A }]);
    deepStrictEqual(manifest.dirtyDue(9_000_000, 10), []);
    // Replaced before, as ever: the old version, not the newest.
    deepStrictEqual(
      manifest.tombstonesOf(A).map((it) => it.stored.hash).sort(),
      [hashOf(1), hashOf(5)],
    );
  }
});

Deno.test("an older file is in conflict also where the copy had a write of it to be uploaded", async () => {
  for (const copied of [1, null]) {
    const manifest = await openMemManifest();
    if (copied !== null) await store(manifest, copied, KEY);
    await manifest.apply(A, "any", { kind: "written", stat: statOf(6), nowS: 6 });
    const things = new Map([[A, file(5)]]);
    const result = await rebuild(manifest, { objects: versions(true), things });
    assertInConflict(manifest, result, file(5));
  }
});

Deno.test("the newest version is taken where the copy had a write to be uploaded, whatever is listed first", async () => {
  for (const order of [[1, 5, 9], [9, 5, 1], [5, 9, 1], [9, 1, 5]]) {
    const manifest = await openMemManifest();
    await store(manifest, 1, KEY);
    await manifest.apply(A, "any", { kind: "written", stat: statOf(6), nowS: 6 });
    const objects = order.map((version) =>
      versions(true).find(({ metadata }) => metadata!.generation === version)!
    );
    const { findings } = await rebuild(manifest, { objects, things: new Map() });
    strictEqual(manifest.get(A)!.stored!.hash, hashOf(9));
    deepStrictEqual(findings, []);
  }
});

for (const where of ["objects", "secondary"] as const) {
  const worldOf = (object: RebuildObject, thing: LocalThing | null): World => ({
    objects: [],
    [where]: [object],
    things: new Map(thing === null ? [] : [[A, thing]]),
  });

  Deno.test(`what the ${where} have under the row's key is its version if it was uploaded later`, async () => {
    for (const thing of [marker(5), file(5), null]) {
      const manifest = await openMemManifest();
      await store(manifest, 1, KEY);
      const later = withGeneration(objectOf(5, KEY, 9_000), 99);
      const result = await rebuild(manifest, worldOf(later, thing));
      const { stored, flags } = manifest.get(A)!;
      deepStrictEqual([stored!.hash, stored!.key], [hashOf(5), KEY]);
      strictEqual(flags.secondaryOnly, where === "secondary");
      deepStrictEqual(result.findings, []);
    }
  });

  Deno.test(`what the ${where} have under the row's key is not its version if it is an older one`, async () => {
    for (const thing of [marker(5), null]) {
      const manifest = await openMemManifest();
      await manifest.raiseGenerations(50);
      await store(manifest, 5, KEY);
      // As a store that was brought back from a backup: it took what it has late.
      const older = withGeneration(objectOf(1, KEY, 9_000), 1);
      const others = withGeneration(objectOf(2, LATER_KEY, 9_000), 2);
      const world = worldOf(older, thing);
      const result = await rebuild(manifest, {
        ...world,
        [where]: [...world[where]!, others],
      });
      const { stored, flags } = manifest.get(A)!;
      deepStrictEqual([stored!.hash, flags.secondaryOnly], [hashOf(5), false]);
      deepStrictEqual(result.findings, []);
    }
  });
}

Deno.test("without a number the object under the row's key is the later one if the store took it later, and is reported", async () => {
  for (const storedAtMs of [1_000, 900_000]) {
    const manifest = await openMemManifest();
    await store(manifest, 1, KEY);
    const objects = [objectOf(5, KEY, storedAtMs)];
    const { findings } = await rebuild(manifest, { objects, things: new Map() });
    const isLater = storedAtMs === 900_000;
    strictEqual(manifest.get(A)!.stored!.hash, hashOf(isLater ? 5 : 1));
    deepStrictEqual(findings, [{ kind: "chosen", path: A, key: KEY }]);
  }
});

Deno.test("what somebody else put under the key of a file that was managed is a stray", async () => {
  const manifest = await openMemManifest();
  const [B, key] = [parseDepotPath("d/b,v"), "d/db.rev"];
  await store(manifest, 1, key);
  await manifest.move(A, B, 1_500);
  const objects = [withGeneration(objectOf(5, key), 99)];
  const result = await rebuild(manifest, { objects, things: new Map() });
  strictEqual(manifest.get(parseDepotPath(key)), null);
  deepStrictEqual(result.findings, [{ kind: "stray", key }]);
});

Deno.test("a marker with the inode of the copy's is its row's touched one only where nothing else has its size", async () => {
  const B = parseDepotPath("d/b,v");
  for (const other of ["none", "an earlier version", "a file without a marker"]) {
    const manifest = await openMemManifest();
    await store(manifest, 1, KEY);
    await manifest.apply(A, "any", { kind: "evicted", marker: marker(1).stat });
    const { sizeBytes } = statOf(1);
    const objects = [withGeneration(objectOf(1, KEY), 1)];
    const key = other === "an earlier version" ? LATER_KEY : B;
    const second = { ...withGeneration(objectOf(2, key), 2), sizeBytes };
    if (other !== "none") objects.push(second);
    if (key === LATER_KEY) {
      await manifest.orphaned(A, storedVersionOf(second), statOf(2));
    }
    const touched = { ...marker(1), stat: { ...marker(1).stat, mtimeNs: 77n } };
    const things = new Map([[A, touched]]);
    const { findings } = await rebuild(manifest, { objects, things });
    const isSure = other === "none";
    deepStrictEqual(findings, isSure ? [] : [{ kind: "other-marker", path: A }], other);
    // A restore trusts the marker that the row knows.
    deepStrictEqual(manifest.get(A)!.local.ino, isSure ? 7n : 0n);
  }
});

Deno.test("a marker of the copy's row is reported where no store has an object for it any more", async () => {
  for (const secondary of [undefined, [], [objectOf(1, KEY)]]) {
    const manifest = await openMemManifest();
    await store(manifest, 1, KEY);
    await manifest.apply(A, "any", { kind: "evicted", marker: marker(1).stat });
    const { findings } = await rebuild(manifest, {
      objects: [],
      ...secondary !== undefined && { secondary },
      things: new Map([[A, marker(1)]]),
    });
    const isThere = secondary?.length === 1;
    deepStrictEqual(findings, isThere ? [] : [{ kind: "no-object", path: A }]);
    strictEqual(manifest.get(A)!.stored!.key, KEY);
  }
});

Deno.test("a write that the copy knows is uploaded, and its file is no conflict", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  await manifest.apply(A, "any", { kind: "written", stat: statOf(6), nowS: 6 });
  const objects = [withGeneration(objectOf(1, KEY), 1)];
  const { findings } = await rebuild(manifest, {
    objects,
    things: new Map([[A, file(6)]]),
  });
  deepStrictEqual(findings, []);
  strictEqual(manifest.dirtyDue(9_000_000, 10).length, 1);
});

Deno.test("planUnknownFile() uploads what grew, compares what may be the same, and asks about the rest", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 5, KEY);
  const entry = manifest.get(A)!;
  const stat = (sizeBytes: number, mtimeNs: bigint): LocalStat => ({
    ...statOf(5),
    sizeBytes,
    mtimeNs,
  });
  const { sizeBytes, mtimeNs } = entry.stored!;
  const plans = [-1, 0, 1].map((longer) =>
    [-1n, 0n, 1n].map((later) =>
      planUnknownFile(entry, stat(sizeBytes + longer, mtimeNs + later))
    )
  );
  deepStrictEqual(plans, [
    ["conflict", "conflict", "conflict"],
    ["compare", "compare", "compare"],
    ["conflict", "conflict", "written"],
  ]);
  const older = stat(sizeBytes, 0n);
  const unhashed = { ...entry, stored: { ...entry.stored!, hash: null } };
  strictEqual(planUnknownFile(unhashed, older), "written");
  strictEqual(planUnknownFile({ ...entry, stored: null }, older), "written");
});

Deno.test("findings of one kind beyond 10,000 are counted and hide no other kind", async () => {
  const manifest = await openMemManifest();
  const paths = Array.from({ length: 10_003 }, (_, i) => parseDepotPath(`d/${i},v`));
  const last = parseDepotPath("e/last,v");
  const things = new Map([...paths.map((path) => [path, file(3)] as const), [
    last,
    marker(2),
  ]]);
  const objects = paths.map((path) => objectOf(9, firstKeyFor(path, () => "")));
  const { findings, counts } = await rebuild(manifest, { objects, things });
  deepStrictEqual(counts, { conflict: 10_003, "no-object": 1 });
  strictEqual(findings.length, 10_001);
  deepStrictEqual(findings.at(-1), { kind: "no-object", path: last });
});

Deno.test("a file without metadata in the store belongs to whom the rebuild is told", async () => {
  const manifest = await openMemManifest();
  const objects = [{ ...objectOf(1, KEY), metadata: null }];
  await rebuild(manifest, { objects, things: new Map() });
  const { uid, gid, mode } = manifest.get(A)!.local;
  deepStrictEqual([uid, gid, mode], [501, 502, 0o444]);
});

Deno.test("a file that the copy knows exactly stays clean", async () => {
  const manifest = await openMemManifest();
  await manifest.apply(A, "absent", {
    kind: "adopted",
    stored: {
      key: KEY,
      hash: hashOf(1),
      sizeBytes: 11,
      mtimeNs: 1_000n,
      versionId: null,
    },
    stat: statOf(1),
    resident: true,
    flags: {},
    nowS: 1,
  });
  const things = new Map([[A, file(1)]]);
  const result = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  deepStrictEqual([manifest.get(A)!.state, result.changed], ["clean", 0]);
});

Deno.test("a version that the copy knows as replaced does not come back", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  await store(manifest, 2, LATER_KEY);
  const objects = [objectOf(1, KEY, 999), objectOf(2, LATER_KEY, 1)];
  await rebuild(manifest, { objects, things: new Map([[A, file(2)]]) });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(2));
  strictEqual(manifest.tombstonesOf(A).length, 1);
});

Deno.test("a copy that was made while a directory's rename was taken in is of after it", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  const moved = parseDepotPath("e/a,v");
  const text = encodeMoving({
    kind: "move",
    from: parseDepotPath("d"),
    to: parseDepotPath("e"),
    toldMs: 1_500,
    whiteout: false,
    after: "",
  });
  await manifest.setMeta(MOVING as MetaName, text);
  const result = await rebuild(manifest, {
    objects: [objectOf(1, KEY)],
    things: new Map([[moved, marker(1)]]),
  });
  deepStrictEqual(result.findings, []);
  strictEqual(manifest.get(A), null);
  strictEqual(manifest.get(moved)!.stored!.key, KEY);
  // The daemon that starts on it has nothing left to move.
  strictEqual(await manifest.finishMove({}), null);
});

Deno.test("a file that was renamed and then deleted before the copy does not come back", async () => {
  const manifest = await openMemManifest();
  const B = parseDepotPath("d/b,v");
  await store(manifest, 1, KEY);
  await manifest.move(A, B, 1_500);
  await manifest.apply(B, "any", { kind: "deleted", nowMs: 2_000, whiteout: false });
  const result = await rebuild(manifest, {
    objects: [objectOf(1, KEY)],
    things: new Map(),
  });
  deepStrictEqual([manifest.get(A), manifest.get(B)], [null, null]);
  deepStrictEqual([result.absent, result.findings], [0, []]);
});

for (const name of ["d/b,v", "d/c,v"]) {
  Deno.test(`a deleted version that was brought back after the copy, and is at ${name} now, is its row`, async () => {
    const manifest = await openMemManifest();
    const [B, path] = [parseDepotPath("d/b,v"), parseDepotPath(name)];
    await store(manifest, 1, KEY);
    await manifest.move(A, B, 1_500);
    await manifest.apply(B, "any", { kind: "deleted", nowMs: 2_000, whiteout: false });
    const things = new Map([[path, marker(1)]]);
    const result = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
    const { stored, resident } = manifest.get(path)!;
    deepStrictEqual([stored!.hash, resident], [hashOf(1), false]);
    deepStrictEqual(result.findings, [{ kind: "moved", path, from: A }]);
    deepStrictEqual(manifest.tombstonesDue(Number.MAX_SAFE_INTEGER - 1, 10), []);
  });
}

Deno.test("a deleted version whose marker came back after the copy is the row again", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  await manifest.apply(A, "any", { kind: "deleted", nowMs: 2_000, whiteout: false });
  const things = new Map([[A, marker(1)]]);
  const result = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(1));
  deepStrictEqual([manifest.tombstonesOf(A), result.findings], [[], []]);
});

Deno.test("a replaced version that became current again after the copy is the row's", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  await store(manifest, 2, LATER_KEY);
  const objects = [objectOf(1, KEY), objectOf(2, LATER_KEY)];
  await rebuild(manifest, { objects, things: new Map([[A, marker(1)]]) });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(1));
  deepStrictEqual(manifest.tombstonesDue(9_000_000, 10), []);
});

Deno.test("tombstones of the copy wait their whole time again", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  await store(manifest, 2, LATER_KEY);
  await rebuild(manifest, { objects: [], things: new Map([[A, file(2)]]) });
  strictEqual(manifest.tombstonesDue(4_999_999, 10).length, 0);
  strictEqual(manifest.tombstonesDue(5_000_000, 10).length, 1);
});

Deno.test("the object of a moved file does not come back at its old name", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 1, KEY);
  const moved = parseDepotPath("d/moved,v");
  await manifest.move(A, moved, 1);
  const things = new Map([[moved, file(1)]]);
  const { findings } = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  deepStrictEqual([manifest.get(A), findings], [null, []]);
  strictEqual(manifest.get(moved)!.stored!.key, KEY);
});

Deno.test("without a copy a moved file is found by the size and mtime of its marker", async () => {
  const manifest = await openMemManifest();
  const moved = parseDepotPath("d/moved,v");
  const things = new Map([[moved, marker(1)]]);
  const { findings } = await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  deepStrictEqual(findings, [{ kind: "moved", path: moved, from: A }]);
  strictEqual(manifest.get(A), null);
  strictEqual(manifest.get(moved)!.stored!.key, KEY);
});

Deno.test("a marker that fits two objects is given to neither", async () => {
  const manifest = await openMemManifest();
  const moved = parseDepotPath("d/moved,v");
  const objects = [objectOf(1, "d/x,v"), objectOf(1, "d/y,v")];
  const result = await rebuild(manifest, {
    objects,
    things: new Map([[moved, marker(1)]]),
  });
  deepStrictEqual(result.findings, [{ kind: "no-object", path: moved }]);
  strictEqual(result.absent, 2);
});

Deno.test("a marker without an object, a lost file and a stray object are reported", async () => {
  const manifest = await openMemManifest();
  const lost = parseDepotPath("d/lost,v");
  await manifest.apply(lost, "absent", { kind: "written", stat: statOf(1), nowS: 1 });
  const { findings } = await rebuild(manifest, {
    objects: [".p4cache-meta/instance", ".p4cache-other/x"].map((key) =>
      objectOf(1, key)
    ),
    things: new Map([[A, marker(1)]]),
  });
  deepStrictEqual(findings, [
    { kind: "stray", key: ".p4cache-other/x" },
    { kind: "lost", path: lost },
    { kind: "no-object", path: A },
  ]);
  strictEqual(manifest.get(A), null);
});

Deno.test("the path of a long key comes from its metadata", async () => {
  const manifest = await openMemManifest();
  const path = parseDepotPath(`d/${"x".repeat(900)}/\xe9,v`);
  const key = firstKeyFor(path, () => "ab".repeat(32));
  const object = objectOf(1, key);
  const metadata = { ...object.metadata!, path: encodeURIComponentBytes(path) };
  const objects = [{ ...object, metadata }];
  await rebuild(manifest, { objects, things: new Map([[path, marker(1)]]) });
  strictEqual(manifest.get(path)!.stored!.key, key);
});

function encodeURIComponentBytes(path: DepotPath): string {
  return path.replace(
    /[^A-Za-z0-9/,]/g,
    (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

Deno.test("chooseVersion() never takes the older one over a marker of the newer", () => {
  const older = objectOf(1, KEY, 500);
  const newer = objectOf(2, LATER_KEY, 100);
  strictEqual(chooseVersion(marker(2), older, newer).object, newer);
  strictEqual(chooseVersion(marker(2), newer, older).object, newer);
  strictEqual(chooseVersion(null, null, older).object, older);
});

Deno.test("chooseVersion() goes by the generation of the uploads where the disk is silent", () => {
  const first = withGeneration(objectOf(1, KEY, 900), 3);
  const second = withGeneration(objectOf(2, LATER_KEY, 100), 8);
  for (const local of [null, file(9), marker(9)]) {
    deepStrictEqual(chooseVersion(local, first, second), {
      object: second,
      isGuess: false,
    });
    deepStrictEqual(chooseVersion(local, second, first), {
      object: second,
      isGuess: false,
    });
  }
  // One that nobody numbered: the store's clock, and that is a guess.
  const unknown = objectOf(3, LATER_KEY, 950);
  deepStrictEqual(chooseVersion(null, first, unknown), {
    object: unknown,
    isGuess: true,
  });
});

Deno.test("a file that was uploaded and evicted after the copy is found again", async () => {
  const manifest = await openMemManifest();
  await manifest.apply(A, "absent", { kind: "written", stat: statOf(1), nowS: 1 });
  for (const things of [new Map([[A, marker(1)]]), new Map<DepotPath, LocalThing>()]) {
    const objects = [withGeneration(objectOf(1, KEY), 7)];
    const { findings } = await rebuild(manifest, { objects, things });
    deepStrictEqual(findings, []);
    strictEqual(manifest.get(A)!.state, "clean");
    strictEqual(manifest.get(A)!.stored!.key, KEY);
    ok(manifest.get(A)!.generation > 7);
  }
});

Deno.test("what is uploaded after a rebuild is newer than all that the store had", async () => {
  const manifest = await openMemManifest();
  const objects = [
    withGeneration(objectOf(1, KEY), 40),
    withGeneration(objectOf(2, LATER_KEY), 90),
  ];
  // The marker says that the older version is the file.
  await rebuild(manifest, { objects, things: new Map([[A, marker(1)]]) });
  strictEqual(manifest.get(A)!.stored!.key, KEY);
  await manifest.apply(A, "any", { kind: "written", stat: statOf(3), nowS: 3 });
  ok(manifest.get(A)!.generation > 90);
});

function withGeneration(object: RebuildObject, generation: number): RebuildObject {
  return { ...object, metadata: { ...object.metadata!, generation } };
}

Deno.test("a later version that only the secondary has is the row's, and says so", async () => {
  for (const local of [marker(2), file(2), null]) {
    const manifest = await openMemManifest();
    const [first, later] = [objectOf(1, KEY), objectOf(2, LATER_KEY)]
      .map((object, index) => withGeneration(object, index));
    const things = new Map(local === null ? [] : [[A, local]]);
    const result = await rebuild(manifest, {
      objects: [first!],
      secondary: [first!, later!],
      things,
    });
    const { stored, flags, state } = manifest.get(A)!;
    deepStrictEqual([stored!.hash, flags.secondaryOnly, state], [
      hashOf(2),
      true,
      "clean",
    ]);
    deepStrictEqual([result.secondaryObjects, result.secondaryOnly], [2, 1]);
    deepStrictEqual(result.findings, []);
  }
});

Deno.test("a marker whose object only the secondary has is an evicted row of it", async () => {
  const manifest = await openMemManifest();
  const things = new Map([[A, marker(1)]]);
  const world = { objects: [], secondary: [objectOf(1, KEY)], things };
  for (let run = 0; run < 2; run++) {
    const { findings, secondaryOnly } = await rebuild(manifest, world);
    deepStrictEqual([findings, secondaryOnly], [[], 1]);
  }
  const { resident, stored, flags } = manifest.get(A)!;
  deepStrictEqual([resident, stored!.key, flags.secondaryOnly], [false, KEY, true]);
});

Deno.test("what both stores have is the primary's", async () => {
  const manifest = await openMemManifest();
  const objects = [withGeneration(objectOf(1, KEY), 1)];
  const world = { objects, secondary: objects, things: new Map([[A, marker(1)]]) };
  const { findings, secondaryOnly } = await rebuild(manifest, world);
  deepStrictEqual([findings, secondaryOnly], [[], 0]);
  strictEqual(manifest.get(A)!.flags.secondaryOnly, false);
});

Deno.test("a row whose object only the secondary has keeps it, whatever the primary has", async () => {
  for (const numbered of [true, false]) {
    const manifest = await openMemManifest();
    await store(manifest, 2, LATER_KEY);
    const [first, later] = [objectOf(1, KEY, 900), objectOf(2, LATER_KEY, 5)]
      .map((object, index) => numbered ? withGeneration(object, index) : object);
    const things = new Map<DepotPath, LocalThing>();
    const objects = [first!];
    await rebuild(manifest, { objects, secondary: [later!], things });
    deepStrictEqual(
      [manifest.get(A)!.stored!.hash, manifest.get(A)!.flags.secondaryOnly],
      [hashOf(2), true],
    );
    // The flag is from now on what a rebuild goes by that leaves the secondary out.
    const left = await rebuild(manifest, { objects, things });
    deepStrictEqual([manifest.get(A)!.stored!.hash, left.secondaryOnly], [hashOf(2), 1]);
    // But not where the primary has what was stored after the copy.
    const newest = withGeneration(objectOf(3, versionKeyFor(KEY, "c".repeat(64))), 9_000);
    await rebuild(manifest, { objects: [newest], things });
    deepStrictEqual(
      [manifest.get(A)!.stored!.hash, manifest.get(A)!.flags.secondaryOnly],
      [hashOf(3), false],
    );
  }
});

Deno.test("what was deleted does not come back from a secondary that keeps everything", async () => {
  const manifest = await openMemManifest();
  await store(manifest, 2, LATER_KEY);
  await manifest.apply(A, "any", { kind: "deleted", nowMs: 2_000, whiteout: true });
  const things = new Map<DepotPath, LocalThing>();
  // The first version's tombstone is gone with its object.
  const secondary = [objectOf(1, KEY), objectOf(2, LATER_KEY)];
  const result = await rebuild(manifest, { objects: [], secondary, things });
  deepStrictEqual([manifest.get(A), result.findings, result.absent], [null, [], 0]);
  // One that was written after that is another file.
  const later = objectOf(9, versionKeyFor(KEY, "9".repeat(64)));
  await rebuild(manifest, { objects: [], secondary: [...secondary, later], things });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(9));
});

Deno.test("a secondary that was filled later makes no older version the newest", async () => {
  const manifest = await openMemManifest();
  const objects = [objectOf(2, LATER_KEY, 100)];
  const secondary = [objectOf(1, KEY, 900)];
  const { findings } = await rebuild(manifest, { objects, secondary, things: new Map() });
  strictEqual(manifest.get(A)!.stored!.hash, hashOf(2));
  deepStrictEqual(findings, [{ kind: "chosen", path: A, key: LATER_KEY }]);
});

Deno.test("a moved file is found by its marker also where only the secondary has its object", async () => {
  const manifest = await openMemManifest();
  const moved = parseDepotPath("d/moved,v");
  const things = new Map([[moved, marker(1)]]);
  const secondary = [objectOf(1, KEY)];
  const { findings } = await rebuild(manifest, { objects: [], secondary, things });
  deepStrictEqual(findings, [{ kind: "moved", path: moved, from: A }]);
  const { stored, flags } = manifest.get(moved)!;
  deepStrictEqual([stored!.key, flags.secondaryOnly], [KEY, true]);
});

Deno.test("a store that fails at one object, or within its list, fails the rebuild", async () => {
  const object = objectOf(1, KEY);
  const failing: RebuildStore[] = [
    { ...storeOf([object]), head: () => Promise.reject(new Error("no head")) },
    {
      ...storeOf([]),
      // deno-lint-ignore require-yield
      async *list(): AsyncGenerator<RebuildObject> {
        throw await Promise.resolve(new Error("no list"));
      },
    },
  ];
  for (const secondary of failing) {
    const work = rebuildManifest({
      manifest: await openMemManifest(),
      depot: depotOf(new Map()),
      owner: { uid: 1, gid: 1 },
      manage: "archives",
      nowMs: () => 1,
      store: storeOf([]),
      secondary,
    });
    await rejects(work, { message: /^no (head|list)$/ });
  }
});

/** What happened to one file before the manifest was lost. */
const HISTORY = fc.record({
  /** Versions in the store, in the order of their upload; the last is current. */
  versions: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), {
    minLength: 1,
    maxLength: 4,
  }),
  /** What the store's clock said, in any order. */
  storedAtMs: fc.array(fc.nat(), { minLength: 4, maxLength: 4 }),
  disk: fc.constantFrom("marker", "file", "newer file", "nothing"),
  /** Who has each version. */
  places: fc.array(fc.constantFrom("primary", "secondary", "both"), {
    minLength: 4,
    maxLength: 4,
  }),
});

Deno.test("after a rebuild every file leads to its newest content, however often it runs", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(HISTORY, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 3 }),
      async (histories, runs) => {
        const manifest = await openMemManifest();
        const [objects, secondary]: RebuildObject[][] = [[], []];
        const things = new Map<DepotPath, LocalThing>();
        const truth = histories.map((history, index) => {
          const { versions, storedAtMs, disk, places } = history;
          const path = parseDepotPath(`d/${index},v`);
          const first = firstKeyFor(path, () => "");
          for (const [order, version] of versions.entries()) {
            const key = order === 0
              ? first
              : versionKeyFor(first, `${version}`.repeat(64));
            const listed = objectOf(version, key, storedAtMs[order]);
            const object = withGeneration(listed, order);
            if (places[order] !== "secondary") objects!.push(object);
            if (places[order] !== "primary") secondary!.push(object);
          }
          const current = versions.at(-1)!;
          const thing = {
            marker: marker(current),
            file: file(current),
            "newer file": file(9),
            nothing: null,
          }[disk];
          if (thing !== null) things.set(path, thing);
          const isSecondarys = places[versions.length - 1] === "secondary";
          return { path, current, isNewer: disk === "newer file", isSecondarys };
        });
        for (let run = 0; run < runs; run++) {
          const world = { objects: objects!, secondary: secondary!, things };
          const result = await rebuild(manifest, world);
          deepStrictEqual(result.findings, []);
          strictEqual(
            result.secondaryOnly,
            truth.filter(({ isSecondarys }) => isSecondarys).length,
          );
        }
        for (const { path, current, isNewer, isSecondarys } of truth) {
          const entry = manifest.get(path)!;
          strictEqual(entry.flags.secondaryOnly, isSecondarys);
          // Whether the file is the stored one is for a scan to say, which hashes it.
          strictEqual(entry.resident, isNewer);
          strictEqual(entry.state, isNewer ? "dirty" : "clean");
          strictEqual(entry.stored!.hash, hashOf(current));
        }
        deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
        strictEqual(manifest.counters().tombstones, 0);
      },
    ),
    { numRuns: 100 },
  );
});

/** What a copy of the whole server root has left in the store, beside an archive. */
const FOREIGN = ["db.config", "journal", "checkpoint.7", "notes.txt"].map(parseDepotPath);

Deno.test("objects of names that are not managed are strays, whatever the disk has there", async () => {
  const manifest = await openMemManifest();
  // `db.config` lives, `journal` was begun anew, the others are gone.
  const things = new Map([[FOREIGN[0]!, file(1)], [FOREIGN[1]!, file(2)]]);
  const objects = [
    ...FOREIGN.map((path) => objectOf(1, firstKeyFor(path, () => ""))),
    objectOf(1, KEY),
  ];
  const { findings } = await rebuild(manifest, { objects, things });
  deepStrictEqual(
    findings,
    FOREIGN.map((path) => ({ kind: "stray", key: objectKeyOf(path) })),
  );
  deepStrictEqual(manifest.paths(null, 10), [A]);
});

Deno.test("an unmanaged name with a marker is one that was evicted while it was managed", async () => {
  const manifest = await openMemManifest();
  const path = FOREIGN[3]!;
  const objects = [objectOf(1, firstKeyFor(path, () => ""))];
  const things = new Map([[path, marker(1)]]);
  const { findings } = await rebuild(manifest, { objects, things });
  deepStrictEqual(findings, []);
  deepStrictEqual(manifest.get(path)!.resident, false);
  // A rebuild on its copy leaves the row as it is, also once the file is back.
  const before = manifest.get(path);
  await rebuild(manifest, { objects, things: new Map([[path, file(3)]]) });
  deepStrictEqual(manifest.get(path), before);
});
