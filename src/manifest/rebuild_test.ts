import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type DepotPath,
  firstKeyFor,
  objectKeyOf,
  parseDepotPath,
  versionKeyFor,
} from "../core/names.ts";
import type { LocalStat, Manifest } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";
import {
  type LocalThing,
  type RebuildDepot,
  rebuildManifest,
  type RebuildObject,
  type RebuildResult,
} from "./rebuild.ts";
import { chooseVersion } from "./rebuild_choice.ts";

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
}

function rebuild(manifest: Manifest, { objects, things }: World): Promise<RebuildResult> {
  const depot: RebuildDepot = {
    look: (path) => Promise.resolve(things.get(path) ?? null),
    async *walk(): AsyncGenerator<{ path: DepotPath; thing: LocalThing }> {
      for (const [path, thing] of things) yield await Promise.resolve({ path, thing });
    },
  };
  return rebuildManifest({
    manifest,
    depot,
    nowMs: () => 5_000_000,
    store: {
      async *list(): AsyncGenerator<RebuildObject> {
        // As most stores do: without metadata.
        for (const object of objects) {
          yield await Promise.resolve({ ...object, metadata: null });
        }
      },
      head: (key) => Promise.resolve(objects.find((one) => one.key === key) ?? null),
    },
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

Deno.test("a file on the disk is dirty and keeps the stored version to fall back to", async () => {
  const manifest = await openMemManifest();
  const things = new Map([[A, file(3)]]);
  await rebuild(manifest, { objects: [objectOf(1, KEY)], things });
  const entry = manifest.get(A)!;
  deepStrictEqual([entry.state, entry.resident], ["dirty", true]);
  strictEqual(entry.stored!.hash, hashOf(1));
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
});

Deno.test("after a rebuild every file leads to its newest content, however often it runs", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(HISTORY, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 3 }),
      async (histories, runs) => {
        const manifest = await openMemManifest();
        const objects: RebuildObject[] = [];
        const things = new Map<DepotPath, LocalThing>();
        const truth = histories.map(({ versions, storedAtMs, disk }, index) => {
          const path = parseDepotPath(`d/${index},v`);
          const first = firstKeyFor(path, () => "");
          for (const [order, version] of versions.entries()) {
            const key = order === 0
              ? first
              : versionKeyFor(first, `${version}`.repeat(64));
            const object = objectOf(version, key, storedAtMs[order]);
            objects.push(withGeneration(object, order));
          }
          const current = versions.at(-1)!;
          const thing = {
            marker: marker(current),
            file: file(current),
            "newer file": file(9),
            nothing: null,
          }[disk];
          if (thing !== null) things.set(path, thing);
          return { path, current, isThere: thing?.kind === "file" };
        });
        for (let run = 0; run < runs; run++) {
          deepStrictEqual((await rebuild(manifest, { objects, things })).findings, []);
        }
        for (const { path, current, isThere } of truth) {
          const entry = manifest.get(path)!;
          strictEqual(entry.resident, isThere);
          strictEqual(entry.state, isThere ? "dirty" : "clean");
          if (!isThere) strictEqual(entry.stored!.hash, hashOf(current));
        }
        deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
        strictEqual(manifest.counters().tombstones, 0);
      },
    ),
    { numRuns: 100 },
  );
});
