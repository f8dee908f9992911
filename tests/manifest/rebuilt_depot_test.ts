import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { metadataOf, sourceOf } from "../conformance/test_bytes.ts";
import { GRACE_HOURS, LostManifest } from "../support/lost_manifest.ts";
import { objectKeyOf } from "../../src/core/names.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";

const A = "d/a,v";
const EARLIER = new Date("2024-01-01T00:00:00Z");
const LATER = new Date("2025-01-01T00:00:00Z");

/** As the copy knows it deleted; since then the same bytes are back, with a new time. */
async function openBack(): Promise<LostManifest> {
  const lost = await LostManifest.open();
  await lost.store(A, "content", EARLIER);
  await lost.delete(A);
  await lost.copy();
  await lost.store(A, "content", LATER);
  deepStrictEqual(await lost.keys(), [A]);
  await lost.evict(A);
  return lost;
}

Deno.test("a deleted file that was written again with the same bytes after the copy is served, and its object stays", async () => {
  await using lost = await openBack();
  const { findings } = await lost.rebuild();
  deepStrictEqual(findings, []);
  strictEqual(await lost.sweepFor(2.5 * GRACE_HOURS), 0);
  strictEqual(await lost.read(A), "content");
});

Deno.test("so is one that was brought back by undelete and touched", async () => {
  await using lost = await LostManifest.open();
  await lost.store(A, "content", EARLIER);
  await lost.delete(A);
  await lost.copy();
  await lost.undelete(A);
  strictEqual(await lost.read(A), "content");
  await Deno.utime(lost.at(A), LATER, LATER);
  await lost.uploadAgain(A);
  await lost.evict(A);
  deepStrictEqual((await lost.rebuild()).findings, []);
  strictEqual(await lost.sweepFor(2.5 * GRACE_HOURS), 0);
  strictEqual(await lost.read(A), "content");
});

Deno.test("the object of a deleted file stays while a marker that no row knows stands at its name", async () => {
  await using lost = await openBack();
  // As the copy is, with nothing taken in.
  await lost.startFromCopy();
  strictEqual(lost.row(A), null);
  strictEqual(await lost.sweepFor(2.5 * GRACE_HOURS), 0);
  deepStrictEqual(await lost.keys(), [A]);
  await Deno.remove(lost.at(A));
  strictEqual(await lost.sweepFor(1.5 * GRACE_HOURS), 1);
  deepStrictEqual(await lost.keys(), []);
});

Deno.test("a marker of another size does not bring a deleted version back", async () => {
  await using lost = await LostManifest.open();
  await lost.store(A, "content", EARLIER);
  await lost.delete(A);
  await lost.copy();
  await lost.storeAndEvict("d/other,v", "longer content", LATER);
  await lost.fixture.primary.delete({ key: objectKeyOf("d/other,v") });
  await lost.rename("d/other,v", A);
  deepStrictEqual((await lost.rebuild()).findings, [{ kind: "no-object", path: A }]);
  await rejects(lost.read(A), /neither the manifest nor the store knows it/);
});

Deno.test("our own version takes the place of the one that was borrowed in the copy", async () => {
  const owner = openMemBackend();
  await using lost = await LostManifest.open({
    settings: { storeLookupOnMiss: true },
    readStores: [owner],
  });
  const bytes = new TextEncoder().encode("the owner's");
  await owner.upload({
    key: objectKeyOf(A),
    source: sourceOf(bytes),
    metadata: { ...metadataOf(bytes), mtimeNs: 1n, mode: 0o444 },
  });
  strictEqual(await lost.read(A), "the owner's");
  strictEqual(lost.row(A)!.flags.borrowed, true);
  await lost.copy();
  await lost.storeAndEvict(A, "the owner's and ours", LATER);
  await lost.rebuild();
  const { borrowed, secondaryOnly } = lost.row(A)!.flags;
  deepStrictEqual([borrowed, secondaryOnly], [false, false]);
  strictEqual(await lost.read(A), "the owner's and ours");
});

Deno.test("our own version takes the place of the one that only the secondary had in the copy", async () => {
  const secondary = openMemBackend();
  await using lost = await LostManifest.open({
    settings: { storeLookupOnMiss: true },
    secondary,
  });
  const bytes = new TextEncoder().encode("before the move");
  await secondary.upload({
    key: objectKeyOf(A),
    source: sourceOf(bytes),
    metadata: { ...metadataOf(bytes), mtimeNs: 1n, mode: 0o444 },
  });
  await lost.adopt(A);
  strictEqual(lost.row(A)!.flags.secondaryOnly, true);
  await lost.copy();
  await lost.storeAndEvict(A, "before the move, and since", LATER);
  await lost.rebuild();
  strictEqual(lost.row(A)!.flags.secondaryOnly, false);
  strictEqual(await lost.read(A), "before the move, and since");
  strictEqual(lost.row(A)!.state, "clean");
});
