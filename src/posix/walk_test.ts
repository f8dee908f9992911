import { deepEqual, equal, ok, throws } from "node:assert/strict";
import type { Posix, WalkEntry } from "./posix.ts";
import { ATTRIBUTES, hasCode, posixTest, write } from "./posix_fixture.ts";

async function walkAll(
  posix: Posix,
  root: string,
  skip: string[] = [],
): Promise<WalkEntry[]> {
  const walk = posix.openWalk(root, { skip });
  const entries: WalkEntry[] = [];
  for (;;) {
    const batch = await walk.nextBatch();
    if (batch.length === 0) break;
    entries.push(...batch);
  }
  equal((await walk.nextBatch()).length, 0, "it stays at its end");
  await walk.close();
  return entries;
}

posixTest(
  "a walk tells everything once, parents first, and follows no link",
  async (posix, at) => {
    posix.makeDirs(`${at}/d/e`, 0o700);
    posix.makeDirs(`${at}/.p4cache/tmp`, 0o700);
    await write(posix, `${at}/d/e/\xe9,v`, "123");
    await write(posix, `${at}/top`, "");
    posix.makeMarker(`${at}/d/marker`, { ...ATTRIBUTES, sizeBytes: 77 });
    await Deno.symlink("d", `${at}/link`);
    await Deno.symlink("..", `${at}/d/up`);
    const entries = await walkAll(posix, at, [".p4cache"]);
    const told = entries.map(({ path, kind }) => `${kind} ${path}`);
    deepEqual([...told].sort(), [
      "directory d",
      "directory d/e",
      "file d/e/\xe9,v",
      "file top",
      "socket d/marker",
      "symlink d/up",
      "symlink link",
    ]);
    ok(told.indexOf("directory d") < told.indexOf("directory d/e"));
    ok(told.indexOf("directory d/e") < told.indexOf("file d/e/\xe9,v"));
    const file = entries.find(({ path }) => path === "d/e/\xe9,v")!;
    const { path: _, ...stat } = file;
    deepEqual(stat, posix.lstat(`${at}/d/e/\xe9,v`));
  },
);

posixTest("a walk of more than a batch is whole", async (posix, at) => {
  const want = new Set<string>();
  for (let d = 0; d < 20; d++) {
    posix.makeDirs(`${at}/${d}`, 0o700);
    want.add(`${d}`);
    for (let f = 0; f < 500; f++) {
      posix.close(posix.createTemp(`${at}/${d}/f${f}`, 0o600));
      want.add(`${d}/f${f}`);
    }
  }
  const got = (await walkAll(posix, at)).map(({ path }) => path);
  equal(got.length, want.size);
  deepEqual(new Set(got), want);
});

posixTest(
  "a walk of a root that is not there fails, and of an empty one ends",
  async (posix, at) => {
    throws(() => posix.openWalk(`${at}/none`), hasCode("ENOENT"));
    deepEqual(await walkAll(posix, at), []);
    equal(posix.readDirectory(`${at}/none`), null);
  },
);

posixTest("a walk can be closed before its end", async (posix, at) => {
  await write(posix, `${at}/a`, "");
  await posix.openWalk(at).close();
  const walk = posix.openWalk(at);
  await walk.nextBatch();
  await walk.close();
});
