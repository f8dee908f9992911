/**
 * What is made of a difference that nobody reported, before the first whole scan and after it, and
 * what a scan makes of files that it cannot bring up to date.
 *
 * @module
 */

import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  hideDirectory,
  NONE_UNPROVEN,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf, type DepotPath } from "../core/names.ts";
import { GIB } from "../core/units.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { PosixError } from "../posix/posix.ts";
import { drain } from "./drain.ts";
import { Engine } from "./engine.ts";
import { type EngineContext, localStatOf } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { MET, observe, REPORTED, REPORTED_APART, SCAN } from "./observe.ts";
import { scanDepot, type ScanReport } from "./scan.ts";
import { UnprovenFiles } from "./unproven_files.ts";
import { upload } from "./upload.ts";
import { NO_ROW } from "./verdict.ts";

const EPERM = 1;
const EIO = 5;
const EACCES = 13;

async function stored(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<DepotPath> {
  const path = fixture.path(name);
  await fixture.write(name, content);
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  return path;
}

/** As somebody puts it back from a backup: with the time that it had. */
async function putBack(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<void> {
  await fixture.write(name, content);
  const then = new Date("2020-01-01T00:00:00Z");
  await Deno.utime(`${fixture.root}/${name}`, then, then);
}

function unwatched(
  { context }: EngineFixture,
  limit: "newer" | "none" | null,
): EngineContext {
  return { ...context, unwatched: () => limit };
}

Deno.test("until the first whole scan an eviction takes no older file for a write", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "a,v", "revisions 1.1 to 1.3");
  await putBack(fixture, "a,v", "revision 1.1");
  strictEqual(await evict(unwatched(fixture, "newer"), path), "changed");
  const entry = fixture.manifest.get(path)!;
  deepStrictEqual([entry.state, entry.flags.conflict], ["clean", true]);
  strictEqual(await fixture.read("a,v"), "revision 1.1");
});

Deno.test("after a reboot a newer file that nobody reported is a conflict, whoever meets it", async () => {
  for (const reason of [MET, SCAN]) {
    await using fixture = await openEngineFixture();
    const path = await stored(fixture, "a,v", "good");
    await fixture.write("a,v", "damaged by the power cut");
    strictEqual(await observe(unwatched(fixture, "none"), path, reason), "conflict");
  }
});

/** With another ctime, also where times are those of ticks. */
async function chmod(
  { root, posix }: EngineFixture,
  name: string,
  mode: number,
): Promise<void> {
  const file = bytePathOf(`${root}/${name}`);
  const { ctimeNs } = posix.lstat(file)!;
  do await Deno.chmod(file, mode); while (posix.lstat(file)!.ctimeNs === ctimeNs);
}

/** As `cp -p` of a backup writes: the same inode, another content, the time that it had. */
async function repair(
  { root, posix }: EngineFixture,
  name: string,
  content: string,
): Promise<void> {
  const file = bytePathOf(`${root}/${name}`);
  const { mtimeNs, ctimeNs } = posix.lstat(file)!;
  // Where times are those of ticks, in the same one nobody could tell.
  do {
    await Deno.writeTextFile(file, content);
    posix.setTimes(file, { atimeNs: null, mtimeNs });
  } while (posix.lstat(file)!.ctimeNs === ctimeNs);
}

/** `a,v`, of more bytes than a scan hashes, with another ctime than its row's. */
async function storeHuge(fixture: EngineFixture): Promise<void> {
  const { manifest, posix, root } = fixture;
  const path = await stored(fixture, "a,v", "");
  const sizeBytes = 8 * GIB + 1;
  await Deno.truncate(`${root}/a,v`, sizeBytes);
  const now = localStatOf(posix.lstat(bytePathOf(`${root}/a,v`))!);
  await manifest.apply(path, "any", {
    kind: "adopted",
    stored: { ...manifest.get(path)!.stored!, sizeBytes },
    stat: { ...now, ctimeNs: now.ctimeNs - 1n },
    resident: true,
    flags: {},
    nowS: 0,
  });
}

const HASHES_NOTHING = { ...SCAN, mayHash: () => false };

Deno.test("a file that was repaired in place while nobody watched stays here, and is a conflict", async () => {
  for (const limit of ["newer", "none", null] as const) {
    for (const reason of [SCAN, HASHES_NOTHING]) {
      await using fixture = await openEngineFixture();
      const path = await stored(fixture, "a,v", "damaged revision");
      await repair(fixture, "a,v", "repaired content");
      const { actions } = await scanDepot(unwatched(fixture, limit), reason);
      deepStrictEqual(actions, reason === SCAN ? { conflict: 1 } : { unproven: 1 });
      // The first whole scan is over.
      const outcome = await evict(fixture.context, path);
      strictEqual(outcome, reason === SCAN ? "not-evictable" : "changed");
      const { state, flags } = fixture.manifest.get(path)!;
      deepStrictEqual([state, flags.conflict], ["clean", true]);
      strictEqual(await fixture.read("a,v"), "repaired content");
    }
  }
});

Deno.test("a chmod of everything while nobody watched is hashed by and by, and by whoever evicts", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const [path, other] = [await stored(fixture, "a,v", "content"), fixture.path("b,v")];
  await stored(fixture, "b,v", "content");
  for (const name of ["a,v", "b,v"]) await chmod(fixture, name, 0o640);
  const openRead = fixture.posix.openRead.bind(fixture.posix);
  fixture.posix.openRead = (): number => {
    throw new Error("it is not to be read");
  };
  const first = await scanDepot(context, HASHES_NOTHING);
  deepStrictEqual([first.actions, first.unproven], [{ unproven: 2 }, 2]);
  const { local, generation } = manifest.get(path)!;
  strictEqual(local.mode, 0o640);
  strictEqual((await scanDepot(context, HASHES_NOTHING)).unproven, 2);
  strictEqual(manifest.get(path)!.generation, generation);
  fixture.posix.openRead = openRead;
  strictEqual(await evict(context, path), "evicted");
  strictEqual(fixture.posix.lstat(bytePathOf(`${fixture.root}/a,v`))?.mode, 0o640);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "content");
  const later = await scanDepot(context, SCAN);
  deepStrictEqual([later.actions, later.unproven], [{ attributes: 1 }, 0]);
  const stat = localStatOf(fixture.posix.lstat(bytePathOf(`${fixture.root}/b,v`))!);
  strictEqual(manifest.glance(other, stat), "known");
});

Deno.test("a depot is drained only once every file was looked at, and hashed where only that tells", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const { signal } = new AbortController();
  const drained = async (wait: boolean): Promise<unknown[]> => {
    const state = await engine.drain({ wait, onProgress: () => {}, signal });
    return [state.isDrained, state.unprovenFiles, state.undecidedFiles];
  };
  deepStrictEqual(await drained(false), [false, null, 0]);
  const path = await stored(fixture, "a,v", "damaged revision");
  await stored(fixture, "b,v", "content");
  await chmod(fixture, "b,v", 0o640);
  await engine.scan(HASHES_NOTHING);
  deepStrictEqual(await drained(false), [false, 1, 0]);
  deepStrictEqual(await drained(true), [true, 0, 0]);
  deepStrictEqual(await drained(false), [true, 0, 0]);
  await repair(fixture, "a,v", "repaired content");
  await engine.scan(HASHES_NOTHING);
  deepStrictEqual(await drained(false), [false, 1, 0]);
  deepStrictEqual(await drained(true), [false, 0, 1]);
  strictEqual(fixture.manifest.get(path)!.flags.conflict, true);
});

Deno.test("a drain also hashes what is too large for scans, and is not done if that fails", async () => {
  await using fixture = await openEngineFixture();
  const { posix } = fixture;
  await storeHuge(fixture);
  const engine = new Engine(fixture.context);
  deepStrictEqual((await engine.scan(SCAN)).actions, { unproven: 1 });
  for (const [errno, files] of [[EIO, 1], [EACCES, 1]] as const) {
    let reads = 0;
    posix.openRead = (name): number => {
      reads++;
      throw new PosixError("open", name, errno);
    };
    const told: [number, number][] = [];
    const state = await engine.drain({
      wait: true,
      onProgress: (...progress) => told.push(progress),
      signal: new AbortController().signal,
    });
    deepStrictEqual([state.isDrained, state.unprovenFiles], [false, files]);
    ok(reads > 0, "it was not hashed");
    deepStrictEqual(told[0], [0, 1]);
  }
});

Deno.test("a file that may not be read, or looked at, is not proven", async () => {
  await using fixture = await openEngineFixture();
  const { posix } = fixture;
  await stored(fixture, "a,v", "damaged revision");
  await stored(fixture, "d/b,v", "text");
  await repair(fixture, "a,v", "repaired content");
  const { lstat, openRead } = posix;
  const refuse = (name: string): never => {
    throw new PosixError("look at", name, EACCES);
  };
  posix.openRead = (name) =>
    name.endsWith("/a,v") ? refuse(name) : openRead.call(posix, name);
  posix.lstat = (name) =>
    name.endsWith("/d/b,v") ? refuse(name) : lstat.call(posix, name);
  hideDirectory(fixture.posix, "d");
  const { unproven, failing } = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([unproven, failing], [2, 0]);
});

Deno.test("files in a directory that may be entered but not listed are looked at by their rows", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/a,v", "damaged revision");
  await stored(fixture, "d/b,v", "text");
  const newer = await stored(fixture, "d/c,v", "1st");
  await repair(fixture, "d/a,v", "repaired content");
  await fixture.write("d/c,v", "second");
  hideDirectory(fixture.posix, "d");
  const { actions, unreadable, unproven } = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([actions, unreadable, unproven], [
    { conflict: 1, nothing: 1, written: 1 },
    1,
    0,
  ]);
  strictEqual(fixture.manifest.get(newer)!.state, "dirty");
});

Deno.test("an evicted file whose marker may not be put back leaves nothing unproven", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "d/a,v", "text");
  strictEqual(await evict(fixture.context, path), "evicted");
  await Deno.remove(`${fixture.root}/d/a,v`);
  fixture.posix.makeMarker = (name): never => {
    throw new PosixError("make the marker", name, EACCES);
  };
  const { unproven, unreadable } = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([unproven, unreadable], [0, 1]);
});

Deno.test("whether a file may be hashed is asked once, however often it is looked at", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "damaged revision");
  await repair(fixture, "a,v", "repaired content");
  let asked = 0;
  const reason = { ...SCAN, mayHash: () => asked++ === 0 };
  deepStrictEqual((await scanDepot(fixture.context, reason)).actions, { conflict: 1 });
  strictEqual(asked, 1);
});

Deno.test("a drain whose client leaves stops hashing", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "content");
  await chmod(fixture, "a,v", 0o640);
  const client = new AbortController();
  const engine = new Engine(fixture.context);
  await engine.scan(HASHES_NOTHING);
  client.abort(new Error("the client left"));
  const draining = engine.drain({
    wait: true,
    onProgress: () => {},
    signal: client.signal,
  });
  await rejects(draining, { message: "the client left" });
});

/** A drain whose scans are `scan`, called with what they tell and their number from 0. */
async function drainWith(
  { context }: EngineFixture,
  scan: (files: UnprovenFiles, index: number) => ScanReport,
): Promise<{ scans: number; isDrained: boolean }> {
  const files = new UnprovenFiles();
  files.ended(files.begin(), reportOf(2));
  let scans = 0;
  const { isDrained } = await drain(context, {
    wait: true,
    onProgress: () => {},
    signal: new AbortController().signal,
  }, {
    count: () => files.count,
    scan: () => Promise.resolve(scan(files, scans++)),
  });
  return { scans, isDrained };
}

function reportOf(unproven: number, part: Partial<ScanReport> = {}): ScanReport {
  return {
    ...{ filesSeen: 9, actions: {}, unmanageable: 0, unreadable: 0 },
    ...{ unproven, failing: 0, stopped: null, ...part },
  };
}

Deno.test("a drain scans again when something came between its scan, but not for ever", async () => {
  await using fixture = await openEngineFixture();
  for (const disturbed of [0, 1, 2, 3]) {
    const expected = { scans: Math.min(3, disturbed + 1), isDrained: disturbed < 3 };
    // A directory was renamed.
    const moved = await drainWith(fixture, (files, index) => {
      const report = reportOf(0, { failing: index < disturbed ? 1 : 0 });
      files.ended(files.begin(), report);
      return report;
    });
    deepStrictEqual(moved, expected);
    // Another scan began meanwhile, and was not to hash all.
    const overlapped = await drainWith(fixture, (files, index) => {
      const own = files.begin();
      if (index < disturbed) files.ended(files.begin(), reportOf(2));
      files.ended(own, reportOf(0));
      return reportOf(0);
    });
    deepStrictEqual(overlapped, expected);
  }
  const stopped = await drainWith(fixture, (files) => {
    const report = reportOf(0, { stopped: "why" });
    files.ended(files.begin(), report);
    return report;
  });
  deepStrictEqual(stopped, { scans: 1, isDrained: false });
});

Deno.test("of scans that overlap, the one that began last tells how many files are unproven", () => {
  const files = new UnprovenFiles();
  const [drained, rescanned] = [files.begin(), files.begin()];
  files.ended(rescanned, reportOf(7, { failing: 1 }));
  strictEqual(files.count, null, "it did not look at everything");
  files.ended(rescanned, reportOf(2));
  files.ended(drained, reportOf(0));
  strictEqual(files.count, 2);
  files.ended(files.begin(), reportOf(1, { failing: 1 }));
  strictEqual(files.count, 2);
  files.ended(files.begin(), reportOf(0));
  files.ended(files.begin(), reportOf(0, { failing: 1 }));
  strictEqual(files.count, 1, "what failed may be another than it was");
  files.ended(files.begin(), reportOf(3, { stopped: "why" }));
  strictEqual(files.count, 3, "what it saw is left, whatever it did not see");
  files.ended(files.begin(), reportOf(0));
  strictEqual(files.count, 0);
});

Deno.test("a file in conflict is not hashed by every scan", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "damaged revision");
  await repair(fixture, "a,v", "repaired content");
  deepStrictEqual((await scanDepot(fixture.context, SCAN)).actions, { conflict: 1 });
  fixture.posix.openRead = (): number => {
    throw new Error("it is not to be read");
  };
  await scanDepot(fixture.context, SCAN);
  deepStrictEqual((await scanDepot(fixture.context, SCAN)).actions, {});
});

Deno.test("a rename is no word of a write: what a scan left unproven is a conflict under its new name", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest, posix, root } = fixture;
  await stored(fixture, "a,v", "good revision");
  await repair(fixture, "a,v", "bad! revision");
  deepStrictEqual((await scanDepot(context, HASHES_NOTHING)).actions, { unproven: 1 });
  const { ino } = posix.lstat(bytePathOf(`${root}/a,v`))!;
  await Deno.rename(`${root}/a,v`, `${root}/b,v`);
  const [from, to] = [fixture.path("a,v"), fixture.path("b,v")];
  await new Engine(context).renamed({
    ...{ from, to, what: "file", ino, writerUid: Deno.uid()! },
  });
  const { state, flags, stored: version } = manifest.get(to)!;
  deepStrictEqual([state, flags.conflict, version!.key], ["clean", true, "a,v"]);
});

Deno.test("a write that is reported counts also where a scan had left the file unproven", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "a,v", "1st");
  await chmod(fixture, "a,v", 0o640);
  await scanDepot(fixture.context, HASHES_NOTHING);
  await repair(fixture, "a,v", "2nd");
  strictEqual(await observe(fixture.context, path, REPORTED), "written");
});

Deno.test("a scan does not read more than some GiB of files of which only the ctime is another", async () => {
  await using fixture = await openEngineFixture();
  await storeHuge(fixture);
  const first = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([first.actions, first.unproven], [{ unproven: 1 }, 1]);
  const again = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([again.actions, again.unproven], [{}, 1]);
});

Deno.test("what was reported is a write, also before the first whole scan", async () => {
  for (const reason of [REPORTED, REPORTED_APART]) {
    await using fixture = await openEngineFixture();
    const path = await stored(fixture, "a,v", "older");
    await putBack(fixture, "a,v", "written by p4d");
    strictEqual(await observe(unwatched(fixture, "none"), path, reason), "written");
  }
});

Deno.test("after the first whole scan, whatever differs was written while somebody watched", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "a,v", "older");
  await putBack(fixture, "a,v", "written by p4d");
  strictEqual(await observe(unwatched(fixture, null), path, MET), "written");
});

Deno.test("a write whose report is on its way is no conflict", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "a,v", "older");
  await fixture.write("a,v", "written by p4d");
  const context: EngineContext = {
    ...unwatched(fixture, "none"),
    eventsUntilNow: async () => {
      await observe(fixture.context, path, REPORTED);
      return true;
    },
  };
  await observe(context, path, SCAN);
  const entry = fixture.manifest.get(path)!;
  deepStrictEqual([entry.state, entry.flags.conflict], ["dirty", false]);
});

Deno.test("a file that the scan cannot bring up to date does not keep the others from it", async () => {
  await using fixture = await openEngineFixture();
  const bad = await stored(fixture, "bad,v", "stored");
  await fixture.write("bad,v", "differs");
  await fixture.write("new,v", "never seen");
  const openRead = fixture.posix.openRead.bind(fixture.posix);
  fixture.posix.openRead = (path): number => {
    if (path.endsWith("/bad,v")) throw new PosixError("open", path, EIO);
    return openRead(path);
  };
  // As long as it was: its hash is asked for.
  await fixture.write("bad,v", "STORED");
  const report = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([report.failing, report.unreadable, report.stopped], [1, 0, null]);
  strictEqual(fixture.manifest.get(fixture.path("new,v"))?.state, "dirty");
  strictEqual(fixture.manifest.get(bad)?.state, "clean");
});

Deno.test("a directory that is too deep to be opened does not keep the scan from being whole", async () => {
  await using fixture = await openEngineFixture();
  await fixture.write("new,v", "never seen");
  const made = await new Deno.Command("python3", {
    args: [
      "-c",
      `
import os, sys
os.chdir(sys.argv[1])
for level in range(25):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
open("file,v", "w").close()
`,
      fixture.root,
    ],
  }).output();
  ok(made.success, new TextDecoder().decode(made.stderr));
  const { failing, unmanageable, stopped } = await scanDepot(fixture.context, SCAN);
  deepStrictEqual({ failing, unmanageable, stopped }, {
    failing: 0,
    unmanageable: 1,
    stopped: null,
  });
  strictEqual(fixture.manifest.get(fixture.path("new,v"))?.state, "dirty");
});

Deno.test("a scan tells of the archives that can have no row, and of no other file", async () => {
  await using fixture = await openEngineFixture();
  for (const name of ["a\nb,v", "c\nd,v", "e\nf,v.lck"]) {
    await Deno.writeTextFile(`${fixture.root}/${name}`, "text");
  }
  const log = createMemoryLogger();
  const { unmanageable, filesSeen } = await scanDepot({ ...fixture.context, log }, SCAN);
  deepStrictEqual([unmanageable, filesSeen], [2, 0]);
  const told = log.records.filter(({ message }) => message === NO_ROW);
  strictEqual(told.length, 1);
  deepStrictEqual(told[0]!.fields, { files: 2, first: told[0]!.fields.first });
  match(String(told[0]!.fields.first), /^[ac]\\x0a[bd],v$/);
});

Deno.test("a marker that may not be given to the file's owner is put back all the same", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "a,v", "of root");
  await Deno.remove(`${fixture.root}/a,v`);
  const owners: number[] = [];
  const foreign = { uid: 4_242, gid: 4_242 };
  await fixture.manifest.apply(path, "any", {
    kind: "attributes",
    stat: { ...fixture.manifest.get(path)!.local, ...foreign },
  });
  // As the kernel answers who is not root.
  const makeMarker = fixture.posix.makeMarker.bind(fixture.posix);
  fixture.posix.makeMarker = (at, attributes): void => {
    owners.push(attributes.uid);
    if (attributes.uid === foreign.uid) throw new PosixError("mknod", at, EPERM);
    makeMarker(at, attributes);
  };
  const report = await scanDepot(fixture.context, SCAN);
  deepStrictEqual([report.failing, report.unreadable], [0, 0]);
  deepStrictEqual(owners, [foreign.uid, Deno.uid()]);
  strictEqual((await fixture.restorer.restore(path)).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "of root");
});

Deno.test("a scan during which a directory was renamed has not looked at everything", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await fixture.write("k/a,v", "not known yet");
  strictEqual((await engine.scan(SCAN)).failing, 0);
  const [from, to] = [fixture.path("k"), fixture.path("b")];
  const scanning = engine.scan(SCAN);
  await engine.renamed({ from, to, what: "directory", ino: null, writerUid: 0 });
  strictEqual((await scanning).failing, 1);
  strictEqual((await engine.scan(SCAN)).failing, 0);
});

Deno.test("drain() waits for what was dirty before the clock was set back", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await fixture.write("a,v", "text");
  await observe(fixture.context, path, REPORTED);
  const { clock } = fixture.context;
  const context: EngineContext = {
    ...fixture.context,
    clock: {
      nowMs: () => clock.nowMs() - 3_600_000,
      monotonicMs: () => clock.monotonicMs(),
      sleep: (ms, signal) => clock.sleep(ms, signal),
    },
  };
  const { signal } = new AbortController();
  const onProgress = (): void => {};
  strictEqual(
    (await drain(context, { wait: false, onProgress, signal }, NONE_UNPROVEN)).isDrained,
    false,
  );
  strictEqual(await upload(context, path), "uploaded");
  ok((await drain(context, { wait: true, onProgress, signal }, NONE_UNPROVEN)).isDrained);
});
