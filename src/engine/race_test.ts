import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf } from "../core/names.ts";
import { deleteFile } from "./delete.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

async function written(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<void> {
  await fixture.write(name, content);
  strictEqual(await observe(fixture.context, fixture.path(name), REPORTED), "written");
}

async function evicted(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<void> {
  await written(fixture, name, content);
  strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
  strictEqual(await evict(fixture.context, fixture.path(name)), "evicted");
}

Deno.test("an upload during which the attributes change is done again", async () => {
  await using fixture = await openEngineFixture();
  const { context, primary } = fixture;
  const path = fixture.path("a,v");
  await written(fixture, "a,v", "content");
  const original = primary.upload.bind(primary);
  primary.upload = async (request) => {
    fixture.posix.chmod(bytePathOf(`${fixture.root}/a,v`), 0o600);
    await observe(context, path, REPORTED);
    return await original(request);
  };
  strictEqual(await upload(context, path), "changed");
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
  primary.upload = original;
  strictEqual(await upload(context, path), "uploaded");
});

Deno.test("a file that is written in place right after its restore is not taken for what was restored", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "one");
  const original = fixture.posix.publish.bind(fixture.posix);
  fixture.posix.publish = async (publication) => {
    const published = await original(publication);
    await Deno.writeTextFile(`${fixture.root}/a,v`, "two");
    return published;
  };
  await fixture.restorer.restore(path);
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
  strictEqual(await evict(fixture.context, path), "not-evictable");
  strictEqual(await fixture.read("a,v"), "two");
});

Deno.test("a DELETE takes along the marker that a look put back meanwhile", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "one");
  fixture.posix.unlink(bytePathOf(`${fixture.root}/a,v`));
  const deleted = deleteFile(fixture.context, path);
  const marker = { sizeBytes: 3, mode: 0o444, uid: 0, gid: 0, mtimeNs: 1n };
  fixture.posix.makeMarker(bytePathOf(`${fixture.root}/a,v`), marker);
  strictEqual(await deleted, true);
  strictEqual(fixture.posix.lstat(bytePathOf(`${fixture.root}/a,v`)), null);
  strictEqual(fixture.manifest.get(path), null);
  deepStrictEqual(
    fixture.posix.readDirectory(bytePathOf(`${fixture.root}/.p4cache/tmp`)),
    [],
  );
});

Deno.test("a file renamed over a stray marker while it is removed stays", async () => {
  await using fixture = await openEngineFixture();
  const { context, posix } = fixture;
  const path = fixture.path("a,v");
  const target = bytePathOf(`${fixture.root}/a,v`);
  await evicted(fixture, "a,v", "one");
  await Deno.writeTextFile(`${fixture.root}/new`, "two");
  const original = posix.takeOut.bind(posix);
  posix.takeOut = (removal) => {
    posix.rename(bytePathOf(`${fixture.root}/new`), target);
    return original(removal);
  };
  posix.unlink(target);
  const deleted = deleteFile(context, path);
  posix.makeMarker(target, { sizeBytes: 3, mode: 0o444, uid: 0, gid: 0, mtimeNs: 1n });
  await deleted;
  strictEqual(await fixture.read("a,v"), "two");
});
