/**
 * Evicted files that were renamed while nobody watched: what their markers may stand for stays in
 * the store, whatever became of the names that they left.
 *
 * @module
 */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { hideDirectory } from "../../tests/support/engine_fixture.ts";
import { GRACE_HOURS, LostManifest } from "../../tests/support/lost_manifest.ts";
import { TombstoneSweeper } from "./delete.ts";
import { Engine } from "./engine.ts";
import { MET, observe, REPORTED, SCAN } from "./observe.ts";

const A = "d/a,v";
const B = "d/b,v";
const C = "d/c,v";
const STAY =
  "objects of deleted files stay: markers that are not of the row of their name may stand " +
  "for them";
const CONTENT = "revisions 1.1 to 1.3";

/** `d/a,v` is evicted, and another file, too. */
async function open(): Promise<LostManifest> {
  const depot = await LostManifest.open();
  await depot.storeAndEvict(A, CONTENT, new Date("2024-01-01T00:00:00Z"));
  return depot;
}

/** What becomes of the marker that the scan has put back at `d/a,v`. */
const ENDS: Readonly<Record<string, (depot: LostManifest) => Promise<void>>> = {
  "deleted": (depot) => depot.delete(A),
  "written anew": (depot) => depot.store(A, "a history of one revision"),
  "replaced by a rename": async (depot) => {
    await depot.store(C, "another file");
    await depot.renameTold(C, A);
  },
};

/** The rebuild is what finds a marker its row again. */
async function isReadAfterRebuild(depot: LostManifest, name: string): Promise<void> {
  await depot.copy();
  await depot.rebuild();
  strictEqual(await depot.read(name), CONTENT);
}

for (const [end, endIt] of Object.entries(ENDS)) {
  Deno.test(`the object of a file that nobody told to be renamed stays, its old name ${end}`, async () => {
    await using depot = await open();
    await depot.rename(A, B);
    await depot.scan();
    await endIt(depot);
    strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
    await isReadAfterRebuild(depot, B);
  });
}

Deno.test("the objects of a tree that nobody told to be renamed stay", async () => {
  await using depot = await open();
  await depot.rename("d", "e");
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  await isReadAfterRebuild(depot, "e/a,v");
});

Deno.test("so it is over a name that another file had, evicted, here or not stored yet", async () => {
  const others: ((depot: LostManifest) => Promise<void>)[] = [
    (depot) => depot.storeAndEvict(B, "the other file"),
    (depot) => depot.store(B, "the other file"),
    (depot) => depot.writeUnstored(B, "the other file"),
  ];
  for (const other of others) {
    await using depot = await open();
    await other(depot);
    await depot.rename(A, B);
    await depot.scan();
    await depot.delete(A);
    await depot.sweepFor(2.5 * GRACE_HOURS);
    ok((await depot.keys()).includes(A));
  }
});

Deno.test("so it is of two evicted files that have traded places", async () => {
  await using depot = await open();
  await depot.storeAndEvict(B, "the other file, a longer one");
  await depot.rename(A, C);
  await depot.rename(B, A);
  await depot.rename(C, B);
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  deepStrictEqual(await depot.keys(), [A, B]);
});

Deno.test("so it is under a name that is not managed", async () => {
  await using depot = await open();
  await depot.rename(A, "d/a,v.bak");
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
});

Deno.test("a marker of which only the size is as it was holds the object", async () => {
  await using depot = await open();
  await depot.rename(A, B);
  depot.fixture.posix.setTimes(depot.bytesAt(B), { atimeNs: null, mtimeNs: 1n });
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
});

Deno.test("a marker that was touched, so that it says nothing, holds all objects", async () => {
  await using depot = await open();
  await depot.store(C, "of another size");
  await depot.rename(A, B);
  await Deno.utime(depot.at(B), new Date(), new Date());
  await depot.scan();
  await depot.delete(A);
  await depot.delete(C);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  match(depot.context.unknownMarkers.whyAll!, /^d\/b,v is a socket that no row knows/);
  await Deno.remove(depot.at(B));
  await depot.scan();
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 2);
});

Deno.test("markers of evicted files, be they touched or put back, hold nothing", async () => {
  await using depot = await open();
  await depot.storeAndEvict(B, CONTENT);
  await depot.storeAndEvict(C, CONTENT);
  // As where the depot was copied back, without the times of access.
  await Deno.utime(depot.at(B), new Date(), new Date());
  await Deno.remove(depot.at(C));
  await Deno.writeTextFile(depot.at("d/notes"), "no archive");
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 1);
  deepStrictEqual(depot.warnings(), []);
});

Deno.test("once a scan finds the marker gone, or its row again, the object goes", async () => {
  await using depot = await open();
  await depot.rename(A, B);
  await depot.scan();
  await depot.delete(A);
  const sweeper = new TombstoneSweeper(depot.context);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS, sweeper), 0);
  strictEqual(sweeper.heldCount, 1);
  deepStrictEqual(depot.warnings(), [
    "a marker that the manifest does not know",
    // A day after it, again.
    STAY,
    STAY,
  ]);
  await depot.rename(B, A);
  await depot.undelete(A);
  strictEqual(await depot.read(A), CONTENT);
  await depot.delete(A);
  await depot.scan();
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS, sweeper), 1);
  strictEqual(sweeper.heldCount, 0);
});

Deno.test("a day after objects began to stay, a scan is asked for", async () => {
  await using depot = await open();
  await depot.rename(A, B);
  await depot.scan();
  await depot.delete(A);
  let asked = 0;
  const scans = { ...depot.context.scans, request: () => void asked++ };
  const sweeper = new TombstoneSweeper({ ...depot.context, scans });
  await depot.sweepFor(GRACE_HOURS - 1, sweeper);
  strictEqual(asked, 0);
  await depot.sweepFor(49, sweeper);
  strictEqual(asked, 3);
});

Deno.test("nothing goes before a scan was whole, nor while one is due", async () => {
  await using depot = await open();
  await depot.delete(A);
  let isWhole = false;
  let asked = 0;
  const scans = {
    ...depot.context.scans,
    isWhole: () => isWhole,
    request: () => void asked++,
  };
  const sweeper = new TombstoneSweeper({ ...depot.context, scans });
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS, sweeper), 0);
  strictEqual(asked, Math.floor(2.5 * GRACE_HOURS / 24));
  match(depot.warnings().join(), /no object of a deleted file is removed: no scan/);
  isWhole = true;
  strictEqual(await depot.sweepFor(1, sweeper), 1);
});

Deno.test("nothing goes while the watcher does not tell", async () => {
  await using depot = await open();
  await depot.delete(A);
  let isTelling = false;
  const eventsUntilNow = (): Promise<boolean> => Promise.resolve(isTelling);
  const sweeper = new TombstoneSweeper({ ...depot.context, eventsUntilNow });
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS, sweeper), 0);
  isTelling = true;
  strictEqual(await depot.sweepFor(1, sweeper), 1);
});

Deno.test("nothing goes while a directory cannot be listed, but for that of fsck", async () => {
  await using depot = await open();
  await depot.rename(A, "e/a,v", { make: "e" });
  await depot.writeUnstored(C, "so that there is the directory");
  const end = hideDirectory(depot.fixture.posix, "e");
  await depot.scan();
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  match(depot.context.unknownMarkers.whyAll!, /^e cannot be listed/);
  end();
  // It is known for what it is now.
  await depot.scan();
  strictEqual(depot.context.unknownMarkers.whyAll, null);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  await Deno.remove(depot.at("e"), { recursive: true });
  hideDirectory(depot.fixture.posix, "lost+found");
  await depot.scan();
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 1);
});

Deno.test("a scan that is not whole forgets nothing that the one before has found", async () => {
  await using depot = await open();
  await depot.rename(A, B);
  await depot.scan();
  await depot.delete(A);
  const end = hideDirectory(depot.fixture.posix, "d", "EIO");
  strictEqual((await depot.scan()).failing, 1);
  end();
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
});

Deno.test("a marker that comes from outside of the depot is known to be there at once", async () => {
  await using depot = await open();
  const outside = await Deno.makeTempDir();
  await Deno.rename(depot.at(A), `${outside}/a,v`);
  await depot.scan();
  await depot.delete(A);
  await Deno.rename(`${outside}/a,v`, depot.at(B));
  const engine = new Engine(depot.context);
  strictEqual(await engine.wrote(depot.fixture.path(B), null), "orphan-marker");
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
  await Deno.remove(outside);
});

Deno.test("a rename to a name that is not managed is known at once, too", async () => {
  await using depot = await open();
  const [from, to] = [A, "d/a,v.bak"].map((name) => depot.fixture.path(name));
  await depot.rename(A, "d/a,v.bak");
  const ino = depot.fixture.posix.lstat(depot.bytesAt("d/a,v.bak"))!.ino;
  const engine = new Engine(depot.context);
  const what = "file";
  await engine.renamed({ from: from!, to: to!, what, ino, writerUid: null });
  await observe(depot.context, from!, MET);
  await depot.delete(A);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 0);
});

Deno.test("a scan that comes before the word of a rename takes its marker for none that nobody knows", async () => {
  await using depot = await open();
  const engine = new Engine(depot.context);
  const [from, to] = [A, B].map((name) => depot.fixture.path(name));
  await depot.rename(A, B);
  const { ino } = depot.fixture.posix.lstat(depot.bytesAt(B))!;
  const tell = async (): Promise<boolean> => {
    await engine.renamed({ from: from!, to: to!, what: "file", ino, writerUid: null });
    return true;
  };
  const context = { ...depot.context, eventsUntilNow: tell };
  await new Engine(context).scan(SCAN);
  await depot.delete(B);
  strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 1);
});

Deno.test("where no kernel tells of renames, an object goes after a scan that began since", async () => {
  await using depot = await open();
  await depot.store(C, "of another size");
  await depot.scan();
  await depot.rename(A, B);
  await observe(depot.context, depot.fixture.path(A), MET);
  await depot.delete(A);
  await depot.delete(C);
  let asked = 0;
  const scans = {
    isWhole: () => true,
    areRenamesTold: () => false,
    request: () => void asked++,
  };
  const sweeper = new TombstoneSweeper({ ...depot.context, scans });
  strictEqual(await depot.sweepFor(1.5 * GRACE_HOURS, sweeper), 0);
  deepStrictEqual([asked, sweeper.heldCount], [1, 0]);
  await depot.scan();
  strictEqual(await depot.sweepFor(1, sweeper), 1);
  deepStrictEqual([await depot.keys(), sweeper.heldCount], [[A], 1]);
});

Deno.test("a file whose rename nobody told is read again once it is renamed back", async () => {
  await using depot = await open();
  await depot.rename(A, B);
  await depot.scan();
  await depot.renameTold(B, A);
  await observe(depot.context, depot.fixture.path(A), REPORTED);
  strictEqual(await depot.read(A), CONTENT);
});

Deno.test("so it is under its new name, once its marker is gone there and its file renamed", async () => {
  for (const isDeleted of [true, false]) {
    await using depot = await open();
    await depot.rename(A, B);
    await depot.scan();
    if (isDeleted) {
      await depot.delete(A);
      await depot.undelete(A);
    }
    await Deno.remove(depot.at(B));
    await depot.renameTold(A, B);
    strictEqual(await depot.read(B), CONTENT);
    await depot.scan();
    await depot.delete(B);
    strictEqual(await depot.sweepFor(2.5 * GRACE_HOURS), 1);
  }
});
