/**
 * A rebuild from a copy whose keys were free again after it was made: the file was deleted or
 * replaced, its grace was over, and another file was stored under the key since.
 *
 * @module
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { GRACE_HOURS, LostManifest } from "../support/lost_manifest.ts";
import type { RebuildStore } from "../../src/manifest/rebuild_sides.ts";
import { metadataOf, sourceOf } from "../conformance/test_bytes.ts";
import { objectKeyOf } from "../../src/core/names.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";

const [A, B, C] = ["d/a,v", "d/b,v", "d/c,v"] as const;
const [EARLIER, LATER, LAST] = ["2024-01-01", "2024-02-01", "2024-03-01"].map((text) =>
  new Date(`${text}T00:00:00Z`)
) as [Date, Date, Date];

async function deleteAndSweep(lost: LostManifest, ...names: string[]): Promise<void> {
  for (const name of names) await lost.delete(name);
  await lost.sweepFor(1.5 * GRACE_HOURS);
}

/** Nothing of the depot is on the disk any more. */
async function loseDisk(lost: LostManifest): Promise<void> {
  await Deno.remove(lost.at("d"), { recursive: true });
}

/** After the scan, and once every grace is over: nothing that is read was removed. */
async function readsForEver(
  lost: LostManifest,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  await lost.scan();
  await lost.sweepFor(2.5 * GRACE_HOURS);
  for (const [name, content] of Object.entries(files)) {
    strictEqual(await lost.read(name), content, name);
  }
}

/** The primary as a rebuild sees it, and the keys that it was asked for one by one. */
function askedStore(
  lost: LostManifest,
): { readonly store: RebuildStore; readonly asked: string[] } {
  const { primary } = lost.fixture;
  const asked: string[] = [];
  const head: RebuildStore["head"] = (key) => {
    asked.push(key);
    return primary.head(key);
  };
  return { store: { list: (prefix) => primary.list(prefix), head }, asked };
}

for (const isDiskLost of [false, true]) {
  const disk = isDiskLost ? ", the disk lost too" : "";
  for (const again of ["longer", "NEW", "old"]) {
    Deno.test(`a file that was stored again under the key of a deleted one is read: "old", then "${again}"${disk}`, async () => {
      for (const isKnownDeleted of [false, true]) {
        await using lost = await LostManifest.open();
        await lost.storeAndEvict(A, "old", EARLIER);
        if (isKnownDeleted) await lost.delete(A);
        await lost.copy();
        if (isKnownDeleted) await lost.sweepFor(1.5 * GRACE_HOURS);
        else await deleteAndSweep(lost, A);
        await lost.storeAndEvict(A, again, LATER);
        deepStrictEqual(await lost.keys(), [A]);
        if (isDiskLost) await loseDisk(lost);
        deepStrictEqual((await lost.rebuild()).findings, []);
        // A rebuild that is run again finds it done.
        deepStrictEqual((await lost.rebuildAgain()).findings, []);
        await readsForEver(lost, { [A]: again });
      }
    });
  }

  Deno.test(`a file that was stored under the key of one that had been renamed is read${disk}`, async () => {
    for (const again of ["longer", "NEW", "old"]) {
      for (const isKnownDeleted of [false, true]) {
        await using lost = await LostManifest.open();
        await lost.storeAndEvict(A, "old", EARLIER);
        await lost.renameTold(A, B);
        if (isKnownDeleted) await lost.delete(B);
        await lost.copy();
        if (isKnownDeleted) await lost.sweepFor(1.5 * GRACE_HOURS);
        else await deleteAndSweep(lost, B);
        await lost.storeAndEvict(A, again, LATER);
        deepStrictEqual(await lost.keys(), [A]);
        if (isDiskLost) await loseDisk(lost);
        deepStrictEqual((await lost.rebuild()).findings, []);
        await readsForEver(lost, { [A]: again });
        // As any that was deleted after the copy it may be back, and has its own bytes or none.
        if (isKnownDeleted) continue;
        if (again === "old") await readsForEver(lost, { [B]: "old" });
        else await rejects(lost.read(B));
      }
    }
  });

  Deno.test(`a renamed file that was written again keeps its version where the key before is another's${disk}`, async () => {
    await using lost = await LostManifest.open();
    await lost.storeAndEvict(A, "old", EARLIER);
    await lost.renameTold(A, B);
    await lost.copy();
    await lost.storeAndEvict(B, "newer", LATER);
    await lost.sweepFor(1.5 * GRACE_HOURS);
    await lost.storeAndEvict(A, "another", LAST);
    strictEqual((await lost.keys())[0], A);
    if (isDiskLost) await loseDisk(lost);
    deepStrictEqual((await lost.rebuild()).findings, []);
    await readsForEver(lost, { [A]: "another", [B]: "newer" });
  });

  Deno.test(`a later version that was stored again under its key is read${disk}`, async () => {
    await using lost = await LostManifest.open();
    await lost.storeAndEvict(A, "first", EARLIER);
    await lost.storeAndEvict(A, "later", EARLIER);
    await lost.copy();
    await deleteAndSweep(lost, A);
    await lost.storeAndEvict(A, "x", LATER);
    await lost.storeAndEvict(A, "later", LAST);
    if (isDiskLost) await loseDisk(lost);
    deepStrictEqual((await lost.rebuild()).findings, []);
    await readsForEver(lost, { [A]: "later" });
  });
}

Deno.test("a file that was stored again under the key and renamed since is read under its new name", async () => {
  for (const again of ["longer", "NEW", "old"]) {
    for (const hasNext of [false, true]) {
      await using lost = await LostManifest.open();
      await lost.storeAndEvict(A, "old", EARLIER);
      await lost.copy();
      await deleteAndSweep(lost, A);
      await lost.storeAndEvict(A, again, LATER);
      await lost.renameTold(A, C);
      if (hasNext) await lost.storeAndEvict(A, "the next", LAST);
      const { findings } = await lost.rebuild();
      deepStrictEqual(findings, [{ kind: "moved", path: C, from: A }]);
      await readsForEver(lost, { [C]: again, ...hasNext && { [A]: "the next" } });
    }
  }
});

Deno.test("so it is where the copy's row of the key is that of another name", async () => {
  for (const again of ["longer", "NEW", "old"]) {
    await using lost = await LostManifest.open();
    await lost.storeAndEvict(A, "old", EARLIER);
    await lost.renameTold(A, B);
    await lost.copy();
    await deleteAndSweep(lost, B);
    await lost.storeAndEvict(A, again, LATER);
    await lost.renameTold(A, C);
    await lost.storeAndEvict(A, "the next", LAST);
    const { findings } = await lost.rebuild();
    deepStrictEqual(findings, [{ kind: "moved", path: C, from: A }]);
    await readsForEver(lost, { [C]: again, [A]: "the next" });
  }
});

Deno.test("a resident file of the copy that is another one now is compared with its own object", async () => {
  for (const again of ["longer", "NEW", "old"]) {
    await using lost = await LostManifest.open();
    await lost.store(A, "old", EARLIER);
    await lost.copy();
    await deleteAndSweep(lost, A);
    await lost.store(A, again, LATER);
    deepStrictEqual((await lost.rebuild()).findings, []);
    await lost.scan();
    const { state, flags } = lost.row(A)!;
    deepStrictEqual([state, flags.conflict], ["clean", false]);
    await lost.evict(A);
    await readsForEver(lost, { [A]: again });
  }
});

Deno.test("a file that was to be uploaded in the copy, and is another one now, is read", async () => {
  for (const isDiskLost of [false, true]) {
    await using lost = await LostManifest.open();
    await lost.storeAndEvict(A, "old", EARLIER);
    await lost.fixture.write(A, "written");
    await lost.look(A);
    await lost.copy();
    await lost.uploadAgain(A);
    await deleteAndSweep(lost, A);
    await lost.storeAndEvict(A, "NEW", LATER);
    deepStrictEqual(await lost.keys(), [A]);
    if (isDiskLost) await loseDisk(lost);
    deepStrictEqual((await lost.rebuild()).findings, []);
    await readsForEver(lost, { [A]: "NEW" });
  }
});

Deno.test("our own file takes the key that the copy's row has in the secondary only", async () => {
  for (const isDiskLost of [false, true]) {
    const secondary = openMemBackend();
    const bytes = new TextEncoder().encode("the secondary's");
    await secondary.upload({
      key: objectKeyOf(A),
      source: sourceOf(bytes),
      metadata: { ...metadataOf(bytes), mtimeNs: 1n, mode: 0o444, generation: 1 },
    });
    await using lost = await LostManifest.open({
      settings: { storeLookupOnMiss: true },
      secondary,
    });
    await lost.adopt(A);
    strictEqual(lost.row(A)!.flags.secondaryOnly, true);
    await lost.copy();
    await lost.scan();
    await deleteAndSweep(lost, A);
    await lost.storeAndEvict(A, "ours", LATER);
    deepStrictEqual(await lost.keys(), [A]);
    if (isDiskLost) await loseDisk(lost);
    deepStrictEqual((await lost.rebuild()).findings, []);
    strictEqual(lost.row(A)!.flags.secondaryOnly, false);
    await readsForEver(lost, { [A]: "ours" });
  }
});

Deno.test("a rebuild that was stopped anywhere reads them all when it is run again", async () => {
  const files = { [A]: "old", [B]: "NEW", [C]: "longer" };
  for (const isKnownDeleted of [false, true]) {
    for (let listedMax = 0; listedMax <= 3; listedMax++) {
      await using lost = await LostManifest.open();
      for (const name of [A, B, C]) await lost.storeAndEvict(name, "old", EARLIER);
      if (!isKnownDeleted) await lost.copy();
      for (const name of [A, B, C]) await lost.delete(name);
      if (isKnownDeleted) await lost.copy();
      await lost.sweepFor(1.5 * GRACE_HOURS);
      for (const [name, content] of Object.entries(files)) {
        await lost.storeAndEvict(name, content, LATER);
      }
      await loseDisk(lost);
      const { store } = askedStore(lost);
      const list = async function* (prefix: string): ReturnType<RebuildStore["list"]> {
        let count = 0;
        for await (const object of store.list(prefix)) {
          if (count++ < listedMax) yield object;
        }
        throw new Error("interrupted");
      };
      await rejects(lost.rebuild({ store: { ...store, list } }), /interrupted/);
      deepStrictEqual((await lost.rebuildAgain()).findings, []);
      await readsForEver(lost, files);
    }
  }
});

Deno.test("the store is asked for no object that the list and the disk leave no doubt of", async () => {
  for (const isDiskLost of [false, true]) {
    await using lost = await LostManifest.open();
    for (const name of [A, B, "d/e,v"]) await lost.storeAndEvict(name, "old", EARLIER);
    await lost.store("d/f,v", "resident", EARLIER);
    await lost.store("d/g,v", "evicted later", EARLIER);
    await lost.renameTold(B, C);
    await lost.copy();
    await lost.evict("d/g,v");
    await lost.read("d/e,v");
    await deleteAndSweep(lost, A);
    await lost.storeAndEvict(A, "NEW", LATER);
    if (isDiskLost) await loseDisk(lost);
    const { store, asked } = askedStore(lost);
    deepStrictEqual((await lost.rebuild({ store })).findings, []);
    deepStrictEqual([...new Set(asked)], [A]);
  }
});

Deno.test("our own file takes the key that another instance's has in the copy", async () => {
  for (const isDiskLost of [false, true]) {
    const owner = openMemBackend();
    const bytes = new TextEncoder().encode("the owner's");
    await owner.upload({
      key: objectKeyOf(A),
      source: sourceOf(bytes),
      metadata: { ...metadataOf(bytes), mtimeNs: 1n, mode: 0o444, generation: 1 },
    });
    await using lost = await LostManifest.open({
      settings: { storeLookupOnMiss: true },
      readStores: [owner],
    });
    strictEqual(await lost.read(A), "the owner's");
    await lost.copy();
    await deleteAndSweep(lost, A);
    await lost.storeAndEvict(A, "ours", LATER);
    deepStrictEqual(await lost.keys(), [A]);
    if (isDiskLost) await loseDisk(lost);
    deepStrictEqual((await lost.rebuild()).findings, []);
    strictEqual(lost.row(A)!.flags.borrowed, false);
    await readsForEver(lost, { [A]: "ours" });
  }
});
