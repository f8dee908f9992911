import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { GRACE_HOURS, LostManifest } from "../support/lost_manifest.ts";
import { objectKeyOf, parseDepotPath } from "../../src/core/names.ts";

const [A, B, C] = ["d/a,v", "d/b,v", "d/c,v"].map(parseDepotPath) as [
  ReturnType<typeof parseDepotPath>,
  ReturnType<typeof parseDepotPath>,
  ReturnType<typeof parseDepotPath>,
];
const MTIMES = ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"]
  .map((text) => new Date(text));
const [EARLIER, LATER, LAST] = MTIMES as [Date, Date, Date];

/** Evicted files, all in the copy if there is one. */
async function open(
  files: Readonly<Record<string, string>>,
  withCopy = true,
): Promise<LostManifest> {
  const lost = await LostManifest.open();
  let second = 0;
  for (const [name, content] of Object.entries(files)) {
    await lost.storeAndEvict(
      name,
      content,
      new Date(EARLIER.getTime() + ++second * 1000),
    );
  }
  if (withCopy) await lost.copy();
  return lost;
}

async function reads(
  lost: LostManifest,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const found = Object.keys(files).map(async (name) => [name, await lost.read(name)]);
  deepStrictEqual(Object.fromEntries(await Promise.all(found)), files);
}

for (const withCopy of [true, false]) {
  const copy = withCopy ? "the copy" : "the start, and no copy";

  Deno.test(`a file that was renamed over another one after ${copy} is served under that name`, async () => {
    // The one that is replaced is the longer one, the shorter one, and as long; and the later one.
    for (const old of ["a, and longer", "a", "old"]) {
      const files = [[A, old], [B, "new"]] as const;
      for (const inOrder of [files, files.toReversed()]) {
        await using lost = await open(Object.fromEntries(inOrder), withCopy);
        await lost.rename(B, A);
        const { findings, absent } = await lost.rebuild();
        deepStrictEqual(findings, [{ kind: "moved", path: A, from: B }]);
        deepStrictEqual([absent, lost.row(B)], [0, null]);
        await reads(lost, { [A]: "new" });
        await lost.evict(A);
        await lost.sweepFor(2.5 * GRACE_HOURS);
        await reads(lost, { [A]: "new" });
      }
    }
  });

  Deno.test(`two directories that traded places after ${copy} have each other's files`, async () => {
    const names = ["a,v", "b,v", "sub/c,v"];
    const files = Object.fromEntries(
      names.flatMap((
        name,
      ) => [[`x/${name}`, `${name} of x`], [`y/${name}`, `y's ${name}`]]),
    );
    await using lost = await open(files, withCopy);
    await lost.rename("x", "z");
    await lost.rename("y", "x");
    await lost.rename("z", "y");
    const { counts } = await lost.rebuild();
    deepStrictEqual(counts, { moved: 6 });
    await reads(
      lost,
      Object.fromEntries(
        names.flatMap((
          name,
        ) => [[`y/${name}`, `${name} of x`], [`x/${name}`, `y's ${name}`]]),
      ),
    );
    strictEqual(lost.manifest.counters().tombstones, 0);
  });
}

Deno.test("names that went round in a circle after the copy, and a row of names, each have their file", async () => {
  const names = Array.from({ length: 6 }, (_, i) => `d/${i},v`);
  for (const isCircle of [true, false]) {
    const files = Object.fromEntries(names.map((name, i) => [name, "x".repeat(i + 1)]));
    await using lost = await open(files);
    const targets = names.map((_, i) =>
      names[i + 1] ?? (isCircle ? names[0]! : "d/end,v")
    );
    await Deno.mkdir(lost.at("aside"));
    for (const [i, name] of names.entries()) await lost.rename(name, `aside/${i}`);
    for (const [i, target] of targets.entries()) await lost.rename(`aside/${i}`, target);
    deepStrictEqual((await lost.rebuild()).counts, { moved: 6 });
    await reads(
      lost,
      Object.fromEntries(targets.map((target, i) => [target, "x".repeat(i + 1)])),
    );
    deepStrictEqual(
      lost.manifest.paths(null, 10).sort(),
      [...targets].sort(),
    );
    strictEqual(lost.manifest.counters().tombstones, 0);
  }
});

Deno.test("a file that was renamed after the copy to a name that was free is served there", async () => {
  await using lost = await open({ [A]: "content" });
  await lost.rename(A, B);
  const { findings, absent } = await lost.rebuild();
  deepStrictEqual(findings, [{ kind: "moved", path: B, from: A }]);
  deepStrictEqual([absent, lost.row(A)], [0, null]);
  await reads(lost, { [B]: "content" });
});

Deno.test("so it is where its old name has a new file, whose upload takes nothing from it", async () => {
  await using lost = await open({ [A]: "content" });
  await lost.rename(A, B);
  await lost.fixture.write(A, "another content");
  const { findings } = await lost.rebuild();
  deepStrictEqual(findings, [{ kind: "moved", path: B, from: A }]);
  await lost.uploadAgain(A);
  strictEqual(lost.row(A)!.state, "clean");
  await lost.evict(A);
  await lost.sweepFor(2.5 * GRACE_HOURS);
  await reads(lost, { [A]: "another content", [B]: "content" });
});

Deno.test("a rebuild that was stopped finds a renamed file when it is run again", async () => {
  await using lost = await open({ [A]: "content" }, false);
  await lost.rename(A, B);
  const stop = new AbortController();
  const { primary } = lost.fixture;
  const stopped = lost.rebuild({
    signal: stop.signal,
    store: {
      async *list(prefix): ReturnType<typeof primary.list> {
        yield* primary.list(prefix);
        stop.abort(new Error("interrupted"));
      },
      head: (key) => primary.head(key),
    },
  });
  await rejects(stopped, { message: "interrupted" });
  strictEqual(lost.row(A)!.resident, false);
  const { findings } = await lost.rebuildAgain();
  deepStrictEqual(findings, [{ kind: "moved", path: B, from: A }]);
  await reads(lost, { [B]: "content" });
});

/** A marker at `name` whose object no store has. */
async function makeUnknown(
  lost: LostManifest,
  { name, content, mtime }: { name: string; content: string; mtime: Date },
): Promise<void> {
  const before = "unknown/file,v";
  await lost.storeAndEvict(before, content, mtime);
  await lost.fixture.primary.delete({ key: objectKeyOf(before) });
  await lost.rename(before, name);
}

for (
  const { content, mtime, kind } of [
    { content: "another size", mtime: LAST, kind: "other-marker" },
    { content: "another size", mtime: new Date(0), kind: "other-marker" },
    { content: "contenT", mtime: LAST, kind: "other-marker" },
  ] as const
) {
  Deno.test(
    `a marker of ${content.length} bytes of ${mtime.getFullYear()} that fits nothing is reported as ${kind}, and read as nothing else`,
    async () => {
      await using lost = await open({ [A]: "content" });
      await makeUnknown(lost, { name: A, content, mtime });
      for (const rebuilt of [await lost.rebuild(), await lost.rebuildAgain()]) {
        deepStrictEqual(rebuilt.findings, [{ kind, path: A }]);
      }
      for (let round = 0; round < 2; round++) {
        await rejects(lost.read(A), /the marker at this name is another file's/);
        await lost.scan();
      }
      // Whoever knows that the version is the right one removes the marker.
      await Deno.remove(lost.at(A));
      await lost.scan();
      await reads(lost, { [A]: "content" });
    },
  );
}

Deno.test("a marker that was touched after the copy is its row's, and so is that of a file of the copy", async () => {
  await using lost = await open({ [A]: "content" });
  await lost.store(B, "content of b", EARLIER);
  // Uploaded with its first time, evicted with the second one.
  await Deno.utime(lost.at(B), LATER, LATER);
  await lost.uploadAgain(B);
  await lost.copy();
  await lost.evict(B);
  lost.fixture.posix.setTimes(lost.bytesAt(A), { atimeNs: null, mtimeNs: 1n });
  deepStrictEqual((await lost.rebuild()).findings, []);
  await reads(lost, { [A]: "content", [B]: "content of b" });
});

Deno.test("a file that may be under an unknown marker is not taken for replaced", async () => {
  await using lost = await open({ [A]: "content", [B]: "content of b" });
  await lost.rename(B, A);
  await makeUnknown(lost, { name: C, content: "CONTENT", mtime: LAST });
  const { findings } = await lost.rebuild();
  deepStrictEqual(findings, [
    { kind: "other-marker", path: A },
    { kind: "no-object", path: C },
  ]);
  strictEqual(await lost.sweepFor(2.5 * GRACE_HOURS), 0);
  deepStrictEqual(await lost.keys(), [A, B]);
  await rejects(lost.read(A), /the marker at this name is another file's/);
});

Deno.test("a version that another one has followed under its first name is found under its new one", async () => {
  await using lost = await open({ [A]: "aa", [B]: "bb" }, false);
  await lost.renameTold(A, B);
  await lost.storeAndEvict(A, "a", LATER);
  const { findings } = await lost.rebuild();
  deepStrictEqual(findings, [{ kind: "moved", path: B, from: A }]);
  // Also once the disk is lost, too: what it has replaced does not come back.
  await lost.copy();
  await Deno.remove(lost.at("d"), { recursive: true });
  deepStrictEqual((await lost.rebuild()).findings, []);
  await lost.scan();
  await reads(lost, { [A]: "a", [B]: "aa" });
});

Deno.test("a marker of a size that two files have is given to neither of them for its size alone", async () => {
  // Renamed over another one that is as large, and written again with the same bytes.
  for (const isDeleted of [false, true]) {
    await using lost = await open({ [A]: "a", [B]: "b" }, false);
    if (isDeleted) {
      await lost.delete(B);
      await lost.copy();
    }
    await lost.renameTold(A, B);
    await lost.fixture.write(B, "a");
    await Deno.utime(lost.at(B), LATER, LATER);
    await lost.uploadAgain(B);
    await lost.evict(B);
    const { counts } = await lost.rebuild();
    deepStrictEqual(counts, isDeleted ? { "no-object": 1 } : { "other-marker": 1 });
    await rejects(lost.read(B));
    strictEqual(await lost.sweepFor(2.5 * GRACE_HOURS), 0);
  }
});
