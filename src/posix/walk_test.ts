import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { InvariantError } from "../core/assert.ts";
import type { Posix, WalkEntry, WalkOptions } from "./posix.ts";
import { ATTRIBUTES, hasCode, posixTest, write } from "./posix_fixture.ts";

async function walkAll(
  posix: Posix,
  root: string,
  options: WalkOptions = {},
): Promise<WalkEntry[]> {
  const walk = posix.openWalk(root, options);
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
    const entries = await walkAll(posix, at, { skip: [".p4cache"] });
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
  for (let d = 0; d < 10; d++) {
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

posixTest("a walk has one caller at a time", async (posix, at) => {
  const walk = posix.openWalk(at);
  const first = walk.nextBatch();
  await rejects(walk.nextBatch(), InvariantError);
  deepEqual(await first, []);
  await walk.close();
  await rejects(walk.nextBatch(), InvariantError, "nor one after its end");
});

posixTest("a walk can be closed before its end", async (posix, at) => {
  await write(posix, `${at}/a`, "");
  await posix.openWalk(at).close();
  const walk = posix.openWalk(at);
  await walk.nextBatch();
  await walk.close();
});

posixTest("skip leaves out these paths only, at any depth", async (posix, at) => {
  for (const path of ["a/b/c", "a/bb", "b/a", "ab"]) {
    posix.makeDirs(`${at}/${path}`, 0o700);
  }
  await write(posix, `${at}/a/b/c/below`, "");
  const told = await walkAll(posix, at, { skip: ["a/b", "b", "c"] });
  deepEqual(told.map(({ path }) => path).sort(), ["a", "a/bb", "ab"]);
});

posixTest(
  "a directory that cannot be read is told, and the rest is walked",
  async (posix, at) => {
    await write(posix, `${at}/other`, "");
    // Deeper than the kernel takes a path: 17 x 251 bytes.
    const made = await new Deno.Command("python3", {
      args: [
        "-c",
        `
import os, sys
os.chdir(sys.argv[1])
for level in range(17):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
open("file", "w").close()
`,
        at,
      ],
    }).output();
    ok(made.success, new TextDecoder().decode(made.stderr));
    const entries = await walkAll(posix, at);
    const unreadable = entries.filter(({ kind }) => kind === "unreadable");
    deepEqual(
      unreadable.map((entry) => entry.kind === "unreadable" ? entry.code : ""),
      ["ENAMETOOLONG"],
    );
    equal(unreadable[0]!.path.length, 17 * 251 - 1);
    equal(entries.filter(({ kind }) => kind === "directory").length, 17);
    equal(entries.filter(({ path }) => path === "other").length, 1);
  },
);

posixTest(
  "a walk enters other devices only when told, and tells them in any case",
  async (posix) => {
    if (posix.lstat("/dev/shm")?.dev === posix.lstat("/dev")!.dev) {
      // deno-lint-ignore no-console -- a skip prints its reason
      console.log("skipped: /dev/shm is no file system of its own here");
      return;
    }
    const file = await Deno.makeTempFile({ dir: "/dev/shm" });
    const path = file.slice("/dev/".length);
    try {
      const inside = await walkAll(posix, "/dev");
      equal(inside.find((entry) => entry.path === path), undefined);
      equal(inside.find((entry) => entry.path === "shm")!.kind, "directory");
      const across = await walkAll(posix, "/dev", { crossDevices: true });
      equal(across.find((entry) => entry.path === path)!.kind, "file");
    } finally {
      await Deno.remove(file);
    }
  },
);
