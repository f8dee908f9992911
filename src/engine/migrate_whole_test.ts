/**
 * What `migrate --all` has to leave for a depot to do without the store that it came from:
 * deleted files and replaced versions too, and nothing that only the secondary is asked for.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { metadataOf, sourceOf } from "../../tests/conformance/test_bytes.ts";
import {
  keysOf,
  migrate,
  moved,
  type MovedStore,
  NONE,
  restoreFrom,
} from "../../tests/support/moved_store.ts";
import { type DepotPath, objectKeyOf } from "../core/names.ts";
import type { LocalStat, StoredVersion } from "../manifest/manifest.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const IN_GRACE = { settings: { deleteGraceSecs: 3_600 } };
const FLAGGED = { kind: "flagged", flags: { secondaryOnly: true } } as const;

async function remove(it: MovedStore, path: DepotPath): Promise<void> {
  await Deno.remove(`${it.fixture.root}/${path}`);
  strictEqual(await deleteFile(it.context, path), "deleted");
}

/** The file comes back, with its content, where nobody has the old store any more. */
async function comesBack(
  it: MovedStore,
  path: DepotPath,
  content: string,
): Promise<void> {
  const context = { ...it.context, secondary: null };
  deepStrictEqual(await undeleteFile(context, path, false), { isDone: true });
  await restoreFrom({ context }, path);
  strictEqual(await it.fixture.read(path), content);
}

/** From now on `then` runs once, while the object `key` is on its way to the primary. */
function whileUploading(
  primary: StorageBackend,
  key: string,
  then: () => Promise<unknown>,
): void {
  const inner = primary.upload.bind(primary);
  let isDone = false;
  primary.upload = async (request) => {
    if (request.key === key && !isDone) {
      isDone = true;
      await then();
    }
    return await inner(request);
  };
}

Deno.test("what was read from the secondary, and deleted before it was uploaded, is copied and can be undeleted", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, { "d/a,v": "history" });
  const path = fixture.path("d/a,v");
  strictEqual(await evict(fixture.context, path), "evicted");
  await restoreFrom(it, path);
  strictEqual(fixture.manifest.get(path)?.flags.secondaryOnly, true);
  await remove(it, path);
  const dry = await migrate(it, { dryRun: true });
  deepStrictEqual(dry, { objects: { ...NONE, copied: 1 }, copiedBytes: 7 });
  strictEqual(fixture.manifest.tombstonesOf(path)[0]?.secondaryOnly, true);
  const report = await migrate(it);
  deepStrictEqual(report, { objects: { ...NONE, copied: 1 }, copiedBytes: 7 });
  strictEqual(fixture.manifest.tombstonesOf(path)[0]?.secondaryOnly, false);
  await comesBack(it, path, "history");
});

Deno.test("a deleted file that the primary has by now is the sweeper's after its grace, and before it is undeleted from there", async () => {
  await using fixture = await openEngineFixture();
  const it = await moved(fixture, { "d/a,v": "first", "d/b,v": "second" });
  const [a, b] = [fixture.path("d/a,v"), fixture.path("d/b,v")];
  for (const path of [a, b]) {
    strictEqual(await evict(fixture.context, path), "evicted");
    await fixture.manifest.apply(path, "any", FLAGGED);
    await remove(it, path);
  }
  deepStrictEqual((await migrate(it)).objects, { ...NONE, copied: 2 });
  deepStrictEqual((await migrate(it)).objects, { ...NONE, present: 2 });
  await comesBack(it, b, "second");
  const sweeper = new TombstoneSweeper({ ...it.context, secondary: null });
  strictEqual(await sweeper.runPass(), 1);
  deepStrictEqual(await keysOf(it.primary), ["d/b,v"]);
  deepStrictEqual(await keysOf(it.secondary), ["d/a,v", "d/b,v"]);
});

Deno.test("a row that changes while its object is copied does not stay the secondary's", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const changes: Record<string, (path: DepotPath, to: DepotPath) => Promise<unknown>> = {
    "d/a,v": (path) => {
      return fixture.manifest.apply(path, "any", {
        kind: "flagged",
        flags: { pinned: true },
      });
    },
    "d/b,v": (path, to) => fixture.manifest.move(path, to, 1),
    "d/c,v": (path) => remove(it, path),
  };
  const content = "of each of them";
  const it = await moved(
    fixture,
    Object.fromEntries(Object.keys(changes).map((name) => [name, content])),
  );
  for (const [name, change] of Object.entries(changes)) {
    const [path, to] = [fixture.path(name), fixture.path(`e/${name}`)];
    strictEqual(await evict(fixture.context, path), "evicted");
    await fixture.manifest.apply(path, "any", FLAGGED);
    whileUploading(it.primary, name, () => change(path, to));
    const { objects } = await migrate(it, { selection: name });
    deepStrictEqual(objects, { ...NONE, copied: 1 }, name);
    const now = fixture.manifest.get(path) ?? fixture.manifest.get(to);
    strictEqual(now?.flags.secondaryOnly ?? false, false, name);
    const buried = fixture.manifest.tombstonesOf(path);
    deepStrictEqual(buried.filter(({ secondaryOnly }) => secondaryOnly), [], name);
  }
});

Deno.test("a version that only the secondary has, and that is replaced, is copied for its grace", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const contents = { "d/a,v": "one", "d/b,v": "same", "d/c,v": "below", "d/d,v": "onto" };
  const it = await moved(fixture, contents);
  for (const name of Object.keys(contents)) {
    strictEqual(await evict(fixture.context, fixture.path(name)), "evicted");
    await restoreFrom(it, fixture.path(name));
  }
  const [a, b] = [fixture.path("d/a,v"), fixture.path("d/b,v")];
  await fixture.write("d/a,v", "one and two");
  await observe(it.context, a, REPORTED);
  await fixture.manifest.move(fixture.path("d/d,v"), fixture.path("d/c,v"), 1);
  for (const path of [a, b]) strictEqual(await upload(it.context, path), "uploaded");
  // What has the same bytes needs no second copy of them.
  deepStrictEqual(fixture.manifest.tombstonesOf(b), []);
  const { objects } = await migrate(it);
  deepStrictEqual(objects, { ...NONE, present: 2, copied: 3 });
  deepStrictEqual(
    (await keysOf(it.primary)).map((key) => key.replace(/\.p4cv-.*/, ".p4cv")),
    ["d/a,v", "d/a,v.p4cv", "d/b,v.p4cv", "d/c,v", "d/d,v"],
  );
});

Deno.test("a file that was deleted before its first upload is nothing to copy", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, {});
  for (const name of ["d/a,v", "d/b,v", "d/c,v"]) {
    await fixture.write(name, "never uploaded");
    await observe(it.context, fixture.path(name), REPORTED);
    await remove(it, fixture.path(name));
  }
  // Of uploads that were cut short, before the file was what it was at last.
  for (const [store, key] of [[it.primary, "d/b,v"], [it.secondary, "d/c,v"]] as const) {
    const bytes = new TextEncoder().encode("less");
    const source = sourceOf(bytes);
    await store.upload({ key: objectKeyOf(key), source, metadata: metadataOf(bytes) });
  }
  deepStrictEqual(await migrate(it), { objects: NONE, copiedBytes: 0 });
  deepStrictEqual(fixture.failures, []);
});

Deno.test("a deleted file that neither store has is missing in its grace, and nothing behind it", async () => {
  for (const deleteGraceSecs of [3_600, 0]) {
    await using fixture = await openEngineFixture({ settings: { deleteGraceSecs } });
    const it = await moved(fixture, { "d/a,v": "history" });
    // As a store that was taken away before this one left it.
    await fixture.manifest.apply(fixture.path("d/a,v"), "any", FLAGGED);
    await it.secondary.delete({ key: objectKeyOf("d/a,v") });
    await remove(it, fixture.path("d/a,v"));
    const missing = deleteGraceSecs > 0 ? 1 : 0;
    deepStrictEqual((await migrate(it)).objects, { ...NONE, missing });
    strictEqual(fixture.failures.length, missing);
  }
});

Deno.test("a file that was deleted while the clock was ahead is copied", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, { "d/a,v": "history" });
  const { clock } = fixture.context;
  const ahead = { ...clock, nowMs: () => clock.nowMs() + 86_400_000 };
  await remove(
    { ...it, context: { ...it.context, clock: ahead } },
    fixture.path("d/a,v"),
  );
  deepStrictEqual((await migrate(it)).objects, { ...NONE, copied: 1 });
  await comesBack(it, fixture.path("d/a,v"), "history");
});

/** Rows and objects, without files. */
async function adopted(
  fixture: EngineFixture,
  store: StorageBackend,
  names: readonly string[],
): Promise<void> {
  const bytes = new TextEncoder().encode("content");
  const metadata = metadataOf(bytes);
  const sizeBytes = bytes.length;
  const stat: LocalStat = {
    ...{ sizeBytes, mtimeNs: 1n, ctimeNs: 1n, mode: 0o444, uid: 1, gid: 1 },
    ...{ ino: 1n, dev: 1n },
  };
  await Promise.all(names.map(async (name) => {
    const key = objectKeyOf(name);
    await store.upload({ key, source: sourceOf(bytes), metadata });
    const { hash } = metadata;
    const stored: StoredVersion = { key, hash, sizeBytes, mtimeNs: 1n, versionId: null };
    await fixture.manifest.apply(fixture.path(name), "absent", {
      ...{ kind: "adopted", stored, stat, resident: false, flags: {}, nowS: 1 },
    });
  }));
}

Deno.test("a file that is deleted and brought back behind the rows is copied", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const { manifest } = fixture;
  const it = await moved(fixture, {});
  // More than are read at a time, so that the last is not looked at with the first.
  const names = Array.from(
    { length: 300 },
    (_, i) => `d/${String(i).padStart(3, "0")},v`,
  );
  await adopted(fixture, it.secondary, ["b/first,v", ...names]);
  const bury = (name: string): Promise<unknown> => {
    const deleted = { kind: "deleted", nowMs: 1, whiteout: true } as const;
    return manifest.apply(fixture.path(name), "any", deleted);
  };
  const last = fixture.path(names.at(-1)!);
  whileUploading(it.primary, "b/first,v", () => Promise.all(names.map(bury)));
  // No row when the rows were looked at, and no deleted file any more when those are.
  whileUploading(it.primary, names[255]!, () => manifest.undelete(last, 1));
  await migrate(it);
  ok(manifest.get(last) !== null);
  deepStrictEqual(await keysOf(it.primary), ["b/first,v", ...names]);
});

for (const fileCount of [600, 9_000]) {
  Deno.test(`of a directory of ${fileCount} files none that is renamed within it is passed over`, async () => {
    await using fixture = await openEngineFixture();
    const it = await moved(fixture, {});
    const names = Array.from(
      { length: fileCount },
      (_, i) => `m/${String(i).padStart(4, "0")},v`,
    );
    await adopted(fixture, it.secondary, [...names, "l/before,v", "m.v/beside,v"]);
    // From where the run has not been to where it has.
    const last = fixture.path(names.at(-1)!);
    const rename = (): Promise<unknown> =>
      fixture.manifest.move(last, fixture.path("m/.first,v"), 1);
    whileUploading(it.primary, names[0]!, rename);
    const { objects } = await migrate(it, { selection: "m" });
    strictEqual(fixture.manifest.get(last), null);
    deepStrictEqual(objects, { ...NONE, copied: fileCount });
    deepStrictEqual(await keysOf(it.primary), names);
  });
}

Deno.test("what is borrowed is counted, and not copied", async () => {
  await using fixture = await openEngineFixture({
    ...IN_GRACE,
    readStores: [openMemBackend()],
  });
  const it = await moved(fixture, { "d/own,v": "own" });
  await adopted(fixture, it.secondary, ["d/a,v", "d/b,v"]);
  const flags = { borrowed: true };
  for (const name of ["d/a,v", "d/b,v"]) {
    await fixture.manifest.apply(fixture.path(name), "any", { kind: "flagged", flags });
  }
  strictEqual(await deleteFile(it.context, fixture.path("d/b,v")), "deleted");
  const { objects } = await migrate(it);
  deepStrictEqual(objects, { ...NONE, copied: 1, borrowed: 2 });
  deepStrictEqual(await keysOf(it.primary), ["d/own,v"]);
});

Deno.test("undeleteFile() asks the primary first, and then the secondary", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, { "d/a,v": "history", "d/b,v": "of b" });
  const [a, b] = [fixture.path("d/a,v"), fixture.path("d/b,v")];
  // Its row says nothing of the secondary, which alone has it.
  await remove(it, a);
  deepStrictEqual(await undeleteFile(it.context, a, false), { isDone: true });
  await restoreFrom(it, a);
  strictEqual(await fixture.read(a), "history");
  // Its row says that only the secondary has it, and the primary has it.
  await migrate(it, { selection: b });
  await fixture.manifest.apply(b, "any", FLAGGED);
  await remove(it, b);
  const away = { ...it.context, secondary: null };
  deepStrictEqual(await undeleteFile(away, b, true), { isDone: true });
  strictEqual(fixture.manifest.tombstonesOf(b)[0]?.secondaryOnly, true);
  await comesBack(it, b, "of b");
  strictEqual(fixture.manifest.get(b)?.flags.secondaryOnly, false);
});

Deno.test("a key whose removal may be under way takes no object, and gives none back", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, { "d/a,v": "history" });
  const path = fixture.path("d/a,v");
  await remove(it, path);
  const { clock, doubtfulKeys } = it.context;
  doubtfulKeys.note(objectKeyOf("d/a,v"), clock.monotonicMs());
  const report = await migrate(it);
  deepStrictEqual(report, { objects: { ...NONE, failed: 1 }, copiedBytes: 0 });
  deepStrictEqual(await keysOf(it.primary), []);
  const undeleted = await undeleteFile(it.context, path, false);
  ok(
    !undeleted.isDone && /try again in 60 min/.test(undeleted.why),
    undeleted.isDone + "",
  );
  strictEqual(fixture.manifest.get(path), null);
});

Deno.test("what is undeleted from the secondary is known to be there only, and copied then", async () => {
  await using fixture = await openEngineFixture(IN_GRACE);
  const it = await moved(fixture, { "d/a,v": "history" });
  const path = fixture.path("d/a,v");
  await remove(it, path);
  deepStrictEqual(await undeleteFile(it.context, path, false), { isDone: true });
  strictEqual(fixture.manifest.get(path)?.flags.secondaryOnly, true);
  deepStrictEqual((await migrate(it)).objects, { ...NONE, copied: 1 });
  strictEqual(fixture.manifest.get(path)?.flags.secondaryOnly, false);
  await restoreFrom({ context: { ...it.context, secondary: null } }, path);
  strictEqual(await fixture.read(path), "history");
});
