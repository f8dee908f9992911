// deno-lint-ignore-file no-sync-fn-in-async-fn -- what is told at once is looked at at once
import { notStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  afterPublishing,
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf } from "../core/names.ts";
import { deleteFile } from "./delete.ts";
import { evict } from "./evict.ts";
import type { LookReason } from "./observe_plan.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

const FOUND: LookReason = { source: "scan", trusts: "newer" };

async function evicted(fixture: EngineFixture, content: string): Promise<void> {
  const path = fixture.path("a,v");
  await fixture.write("a,v", content);
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  strictEqual(await evict(fixture.context, path), "evicted");
}

Deno.test("who waits for a restore is told of the whole file before its row is written", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "one");
  const told: unknown[] = [];
  const restored = await fixture.restorer.restore(path, {
    onReadable(sizeBytes): void {
      const text = Deno.readTextFileSync(`${fixture.root}/a,v`);
      told.push(sizeBytes, text, fixture.manifest.get(path)?.resident);
    },
  });
  strictEqual(told.join(), "3,one,false");
  strictEqual(restored.wasEvicted, true);
  strictEqual(fixture.manifest.get(path)?.resident, true);
});

Deno.test("a restore whose row was never written is known again by its hash", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "one");
  const original = manifest.apply.bind(manifest);
  manifest.apply = () => Promise.reject(new Error("the disk is full"));
  let isTold = false;
  const onReadable = (): void => void (isTold = true);
  await rejects(fixture.restorer.restore(path, { onReadable }));
  manifest.apply = original;
  strictEqual(isTold, true);
  strictEqual(await fixture.read("a,v"), "one");
  strictEqual(manifest.get(path)?.resident, false);
  await observe(context, path, FOUND);
  strictEqual(manifest.get(path)?.state, "clean");
  strictEqual(manifest.get(path)?.resident, true);
});

Deno.test("what is written into a restored file before its row is kept", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "one");
  await fixture.restorer.restore(path, {
    onReadable: () => Deno.writeTextFileSync(`${fixture.root}/a,v`, "two"),
  });
  notStrictEqual(await evict(context, path), "evicted");
  strictEqual(await fixture.read("a,v"), "two");
  await observe(context, path, REPORTED);
  strictEqual(manifest.get(path)?.state, "dirty");
});

Deno.test("who asks for a restored file before its row is written looks again", async () => {
  await using fixture = await openEngineFixture();
  const { posix, restorer, root } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "one");
  let second: Promise<{ wasEvicted: boolean }> | null = null;
  await restorer.restore(path, {
    onReadable(): void {
      posix.rename(bytePathOf(`${root}/a,v`), bytePathOf(`${root}/elsewhere`));
      second = restorer.restore(path);
    },
  });
  strictEqual((await second!).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "one");
});

Deno.test("nobody is told of a file whose row is deleted meanwhile", async () => {
  await using fixture = await openEngineFixture();
  const { context, posix, root } = fixture;
  const path = fixture.path("a,v");
  const [name, aside] = [bytePathOf(`${root}/a,v`), bytePathOf(`${root}/aside`)];
  await evicted(fixture, "one");
  afterPublishing(posix, async () => {
    posix.rename(name, aside);
    strictEqual(await deleteFile(context, path), "deleted");
    posix.rename(aside, name);
  });
  let isTold = false;
  await fixture.restorer.restore(path, { onReadable: () => void (isTold = true) });
  strictEqual(isTold, false);
  strictEqual(fixture.manifest.get(path), null);
  strictEqual(posix.lstat(name), null);
});
