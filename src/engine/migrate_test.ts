/**
 * Copying from a secondary store to the primary one: what is copied, what is refused, and
 * what a failure leaves.
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { withFaults } from "../../tests/conformance/faulty_backend.ts";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { keysOf, migrate, moved, NONE } from "../../tests/support/moved_store.ts";
import { type DepotPath, type ObjectKey, objectKeyOf } from "../core/names.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { deleteFile } from "./delete.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

function put(store: StorageBackend, key: string, text: string): Promise<unknown> {
  const bytes = new TextEncoder().encode(text);
  const source = sourceOf(bytes);
  return store.upload({ key: objectKeyOf(key), source, metadata: metadataOf(bytes) });
}

function rowKey(fixture: EngineFixture, path: DepotPath): ObjectKey {
  return fixture.manifest.get(path)!.stored!.key;
}

Deno.test("migrateSelected() copies what the primary lacks, with its metadata, and again finds nothing to do", async () => {
  await using fixture = await openEngineFixture();
  const it = await moved(fixture, { "d/a,v": "aaaa", "d/b,v": "bbbbb", "e/c,v": "" });
  const before = await it.secondary.head(objectKeyOf("d/a,v"));
  const dry = await migrate(it, { dryRun: true });
  deepStrictEqual(dry, { objects: { ...NONE, copied: 3 }, copiedBytes: 9 });
  deepStrictEqual(await keysOf(it.primary), []);
  const part = await migrate(it, { selection: "d" });
  deepStrictEqual(part, { objects: { ...NONE, copied: 2 }, copiedBytes: 9 });
  const after = await it.primary.head(objectKeyOf("d/a,v"));
  deepStrictEqual(after?.metadata, before?.metadata);
  strictEqual(after?.sizeBytes, 4);
  const rest = await migrate(it);
  deepStrictEqual(rest, { objects: { ...NONE, present: 2, copied: 1 }, copiedBytes: 0 });
  const again = await migrate(it);
  deepStrictEqual(again, { objects: { ...NONE, present: 3 }, copiedBytes: 0 });
  deepStrictEqual(await keysOf(it.secondary), ["d/a,v", "d/b,v", "e/c,v"]);
  const left = await Array.fromAsync(Deno.readDir(`${fixture.root}/.p4cache/tmp`));
  deepStrictEqual(left, []);
});

Deno.test("migrateSelected() takes a dirty file's stored version, and deleted files in their grace with everything", async () => {
  await using fixture = await openEngineFixture({ settings: { deleteGraceSecs: 3_600 } });
  const it = await moved(fixture, { "d/a,v": "first", "d/gone,v": "deleted" });
  await fixture.write("d/a,v", "second, not uploaded");
  await observe(fixture.context, fixture.path("d/a,v"), REPORTED);
  await Deno.remove(`${fixture.root}/d/gone,v`);
  strictEqual(await deleteFile(fixture.context, fixture.path("d/gone,v")), "deleted");
  const report = await migrate(it);
  deepStrictEqual(report, { objects: { ...NONE, copied: 2 }, copiedBytes: 12 });
  deepStrictEqual(await keysOf(it.primary), ["d/a,v", "d/gone,v"]);
});

Deno.test("migrateSelected() of everything passes over nothing that is renamed, deleted or undeleted meanwhile", async () => {
  await using fixture = await openEngineFixture({ settings: { deleteGraceSecs: 3_600 } });
  const names = Array.from(
    { length: 600 },
    (_, i) => `m/${String(i).padStart(3, "0")},v`,
  );
  const it = await moved(fixture, Object.fromEntries(names.map((name) => [name, name])));
  const { context, manifest } = fixture;
  const [back, gone] = [names[300]!, names[301]!];
  await Deno.remove(`${fixture.root}/${back}`);
  strictEqual(await deleteFile(context, fixture.path(back)), "deleted");
  let steps = 0;
  const onProgress = async (): Promise<void> => {
    if (++steps !== 2) return;
    // From where the run has not been to where it has.
    await manifest.move(fixture.path(names[599]!), fixture.path("a,v"), 1);
    await manifest.undelete(fixture.path(back), 1);
    await Deno.remove(`${fixture.root}/${gone}`);
    strictEqual(await deleteFile(context, fixture.path(gone)), "deleted");
  };
  const changes: Promise<void>[] = [];
  await migrate(it, { onProgress: () => void changes.push(onProgress()) });
  await Promise.all(changes);
  ok(steps > 2);
  deepStrictEqual(await keysOf(it.primary), names);
});

Deno.test("migrateSelected() overwrites nothing, and copies nothing that is not what the manifest has", async () => {
  await using fixture = await openEngineFixture();
  const contents = { "d/a,v": "aaaa", "d/b,v": "bbbb", "d/c,v": "cccc", "d/d,v": "dddd" };
  const it = await moved(fixture, contents);
  await put(it.primary, "d/a,v", "AAAA");
  await it.secondary.delete({ key: objectKeyOf("d/b,v") });
  await it.secondary.delete({ key: objectKeyOf("d/c,v") });
  await put(it.secondary, "d/c,v", "CCCC");
  const report = await migrate(it);
  const objects = { ...NONE, copied: 1, missing: 1, differing: 1, failed: 1 };
  deepStrictEqual(report, { objects, copiedBytes: 4 });
  deepStrictEqual(await keysOf(it.primary), ["d/a,v", "d/d,v"]);
  const other = metadataOf(new TextEncoder().encode("AAAA")).hash;
  strictEqual((await it.primary.head(objectKeyOf("d/a,v")))?.metadata?.hash, other);
  deepStrictEqual(
    fixture.failures.map(({ op, path }) => [op, path]).toSorted(),
    [["migrate", "d/a,v"], ["migrate", "d/b,v"], ["migrate", "d/c,v"]],
  );
});

Deno.test("migrateSelected() lets a file be evicted that only the secondary had", async () => {
  await using fixture = await openEngineFixture();
  const it = await moved(fixture, { "d/a,v": "aaaa", "d/b,v": "bbbb" });
  const [a, b] = [fixture.path("d/a,v"), fixture.path("d/b,v")];
  const flags = { secondaryOnly: true };
  for (const path of [a, b]) {
    await fixture.manifest.apply(path, "any", { kind: "flagged", flags });
  }
  await it.secondary.delete({ key: rowKey(fixture, b) });
  await migrate(it, { dryRun: true });
  strictEqual(fixture.manifest.get(a)?.flags.secondaryOnly, true);
  await migrate(it);
  strictEqual(fixture.manifest.get(a)?.flags.secondaryOnly, false);
  strictEqual(fixture.manifest.get(b)?.flags.secondaryOnly, true, "it was not copied");
});

Deno.test("migrateSelected() ends when a store does not answer, and the next run does what is left", async () => {
  await using fixture = await openEngineFixture();
  const inner = openMemBackend();
  let isAway = true;
  const primary = withFaults(
    inner,
    (operation, callIndex) =>
      isAway && operation === "upload" && callIndex >= 10
        ? { when: "middle", fault: "unavailable" }
        : null,
  );
  const names = Array.from({ length: 40 }, (_, i) => `d/${i},v`);
  const contents = Object.fromEntries(names.map((name) => [name, `content of ${name}`]));
  const it = await moved(fixture, contents, primary);
  await rejects(() => migrate(it), (error) => {
    return error instanceof StorageError && error.fault === "unavailable";
  });
  const copied = await keysOf(inner);
  ok(copied.length >= 1 && copied.length < 40, `${copied.length} of 40`);
  isAway = false;
  const { objects } = await migrate(it);
  deepStrictEqual(objects, {
    ...NONE,
    present: copied.length,
    copied: 40 - copied.length,
  });
  strictEqual((await keysOf(inner)).length, 40);
});

Deno.test("migrateSelected() counts what the secondary has to thaw first, and copies the rest", async () => {
  await using fixture = await openEngineFixture();
  const it = await moved(fixture, { "d/a,v": "aaaa", "d/b,v": "bbbb" });
  const told: StorageBackend = Object.create(it.secondary, {
    head: {
      value: async (key: ObjectKey) => {
        const info = await it.secondary.head(key);
        return info === null || key !== "d/a,v" ? info : { ...info, archive: "archived" };
      },
    },
    download: { value: it.secondary.download.bind(it.secondary) },
  });
  // One tells by its HEAD, the other only when it is read.
  const refusing = withFaults(
    told,
    (operation) =>
      operation === "download" ? { when: "before", fault: "archived" } : null,
  );
  const context = { ...it.context, secondary: refusing };
  const dry = await migrate({ context }, { dryRun: true });
  deepStrictEqual(dry.objects, { ...NONE, archived: 1, copied: 1 });
  deepStrictEqual((await migrate({ context })).objects, { ...NONE, archived: 2 });
  deepStrictEqual(await keysOf(it.primary), []);
  const some = { ...it.context, secondary: told };
  deepStrictEqual((await migrate({ context: some })).objects, {
    ...NONE,
    archived: 1,
    copied: 1,
  });
});

Deno.test("an upload whose answer is lost is found in the primary, and counts as copied", async () => {
  await using fixture = await openEngineFixture();
  const inner = openMemBackend();
  const primary = withFaults(
    inner,
    (operation) =>
      operation === "upload" ? { when: "after", fault: "precondition" } : null,
  );
  const it = await moved(fixture, { "d/a,v": "aaaa" }, primary);
  deepStrictEqual((await migrate(it)).objects, { ...NONE, copied: 1 });
});

Deno.test("migrateSelected() reads an object whole that does not tell its hash", async () => {
  await using fixture = await openEngineFixture();
  const it = await moved(fixture, { "d/a,v": "aaaa", "d/b,v": "bbbb" });
  const noHash = { ...metadataOf(new Uint8Array()), hash: null };
  for (const [key, text] of [["d/a,v", "aaaa"], ["d/b,v", "BBBB"]] as const) {
    const source = sourceOf(new TextEncoder().encode(text));
    await it.primary.upload({ key: objectKeyOf(key), source, metadata: noHash });
  }
  const { objects } = await migrate(it);
  deepStrictEqual(objects, { ...NONE, present: 1, differing: 1 });
});

Deno.test("migrateSelected() copies an object of several chunks whole", async () => {
  await using fixture = await openEngineFixture();
  const bytes = patternBytes(3_000_001, 7);
  await Deno.mkdir(`${fixture.root}/d`);
  await Deno.writeFile(`${fixture.root}/d/large,v`, bytes);
  const path = fixture.path("d/large,v");
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  const it = await moved(fixture, {});
  deepStrictEqual(await migrate(it, { selection: "d/large,v" }), {
    objects: { ...NONE, copied: 1 },
    copiedBytes: bytes.length,
  });
  const info = await it.primary.head(objectKeyOf("d/large,v"));
  strictEqual(info?.metadata?.hash, metadataOf(bytes).hash);
});
