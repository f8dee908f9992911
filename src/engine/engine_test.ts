import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { PosixError } from "../posix/posix.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import type { StorageBackend } from "../storage/backend.ts";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { VANISH_GRACE_MS } from "./departures.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { MET, observe, REPORTED, REPORTED_APART } from "./observe.ts";
import { recoverDirectories } from "./recovery.ts";
import { RecallBudget } from "./recall_budget.ts";
import { Restorer } from "./restore.ts";
import { scanDepot } from "./scan.ts";
import { SpaceLedger } from "./space.ts";
import { statFile } from "./stat.ts";
import { upload } from "./upload.ts";

const AFTER_REBOOT = { source: "scan", trusts: "none" } as const;
const SAME_BOOT = { source: "scan", trusts: "newer" } as const;

/** Written, seen, uploaded. */
async function stored(
  fixture: EngineFixture,
  path: string,
  content: string,
): Promise<void> {
  await fixture.write(path, content);
  strictEqual(await observe(fixture.context, fixture.path(path), REPORTED), "written");
  strictEqual(await upload(fixture.context, fixture.path(path)), "uploaded");
}

async function evicted(
  fixture: EngineFixture,
  path: string,
  content: string,
): Promise<void> {
  await stored(fixture, path, content);
  strictEqual(await evict(fixture.context, fixture.path(path)), "evicted");
}

async function keysOf(store: StorageBackend): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys.sort();
}

function countFiles(directory: string): number {
  return [...Deno.readDirSync(directory)].length;
}

Deno.test("an evicted file is a marker that says its size, and comes back with its attributes", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/a,v", "head 1.1;");
  const file = fixture.posix.lstat(`${fixture.root}/d/a,v`)!;
  strictEqual(await evict(fixture.context, fixture.path("d/a,v")), "evicted");

  const marker = fixture.posix.lstat(`${fixture.root}/d/a,v`)!;
  deepStrictEqual([marker.kind, marker.blocks, marker.mtimeNs, marker.mode], [
    "socket",
    0,
    file.mtimeNs,
    file.mode,
  ]);
  strictEqual(
    (await statFile(fixture.context, fixture.path("d/a,v")))?.stat.sizeBytes,
    9,
  );
  await rejects(fixture.read("d/a,v"));

  const restored = await fixture.restorer.restore(fixture.path("d/a,v"));
  deepStrictEqual(restored, { sizeBytes: 9, wasEvicted: true });
  strictEqual(await fixture.read("d/a,v"), "head 1.1;");
  const back = fixture.posix.lstat(`${fixture.root}/d/a,v`)!;
  deepStrictEqual([back.kind, back.mtimeNs, back.mode], [
    "file",
    file.mtimeNs,
    file.mode,
  ]);
  strictEqual(countFiles(`${fixture.root}/.p4cache/tmp`), 0);
  strictEqual(countFiles(`${fixture.root}/.p4cache/evicting`), 0);
});

Deno.test("one download serves all who ask at the same time", async () => {
  const store = openMemBackend();
  let downloads = 0;
  const counting = new Proxy(store, {
    get(target, name): unknown {
      if (name === "download") downloads += 1;
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  await using fixture = await openEngineFixture({ primary: counting });
  await evicted(fixture, "a,v", "x");
  const path = fixture.path("a,v");
  await Promise.all(Array.from({ length: 50 }, () => fixture.restorer.restore(path)));
  strictEqual(downloads, 1);
});

Deno.test("a changed file goes to a key of its own and the old bytes stay until the grace is over", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await stored(fixture, "a,v", "two");
  const keys = await keysOf(fixture.primary);
  strictEqual(keys.length, 2);
  strictEqual(keys[0], "a,v");
  match(keys[1]!, /^a,v\.p4cv-[0-9a-f]{16}$/);
  deepStrictEqual(
    fixture.manifest.tombstonesOf(fixture.path("a,v")).map((
      t,
    ) => [t.stored.key, t.reason]),
    [["a,v", "replaced"]],
  );
});

Deno.test("a file that got its old content back keeps the object that the sweeper would remove", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await stored(fixture, "a,v", "two");
  await stored(fixture, "a,v", "one");
  strictEqual(
    fixture.manifest.get(fixture.path("a,v"))?.stored?.key,
    "a,v.p4cv-" +
      fixture.manifest.get(fixture.path("a,v"))!.stored!.hash!.slice(0, 16),
  );
  await new TombstoneSweeper(fixture.context).runPass();
  strictEqual(await evict(fixture.context, fixture.path("a,v")), "evicted");
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "one");
});

Deno.test("a file that is written while it uploads stays dirty", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await fixture.write("a,v", "one");
  await observe(fixture.context, path, REPORTED);
  const { primary } = fixture;
  const original = primary.upload.bind(primary);
  primary.upload = async (request) => {
    const info = await original(request);
    await fixture.write("a,v", "two!");
    await observe(fixture.context, path, REPORTED);
    return info;
  };
  strictEqual(await upload(fixture.context, path), "changed");
  primary.upload = original;
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
  strictEqual(await upload(fixture.context, path), "uploaded");
  strictEqual(await evict(fixture.context, path), "evicted");
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "two!");
});

Deno.test("an upload that fails leaves the file local, dirty and in the ledger", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await fixture.write("a,v", "one");
  await observe(fixture.context, path, REPORTED);
  fixture.primary.upload = () =>
    Promise.reject(
      new StorageError("unavailable", {
        operation: "upload",
        key: "a,v",
        detail: "down",
      }),
    );
  strictEqual(await upload(fixture.context, path), "failed");
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
  ok(fixture.manifest.nextRetryAtMs()! > Date.now());
  deepStrictEqual(fixture.failures.map(({ op, path }) => [op, path]), [[
    "upload",
    "a,v",
  ]]);
  strictEqual(await fixture.read("a,v"), "one");
});

Deno.test("eviction refuses when the store lost the object, and uploads it again", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await stored(fixture, "a,v", "one");
  await fixture.primary.delete({ key: fixture.manifest.get(path)!.stored!.key });
  strictEqual(await evict(fixture.context, path), "unconfirmed");
  strictEqual(await fixture.read("a,v"), "one");
  strictEqual(await upload(fixture.context, path), "uploaded");
  strictEqual(await evict(fixture.context, path), "evicted");
});

Deno.test("eviction reads an object whose recorded hash is gone, and refuses other bytes of that size", async () => {
  for (
    const [content, outcome] of [["evil", "unconfirmed"], ["good", "evicted"]] as const
  ) {
    await using fixture = await openEngineFixture();
    const path = fixture.path("a,v");
    await stored(fixture, "a,v", "good");
    const { key } = fixture.manifest.get(path)!.stored!;
    await fixture.primary.delete({ key });
    const bytes = new TextEncoder().encode(content);
    await fixture.primary.upload({
      key,
      source: {
        sizeBytes: 4,
        read: (buffer) => (buffer.set(bytes), Promise.resolve(4)),
      },
      metadata: {
        hash: null,
        mtimeNs: null,
        mode: null,
        uid: null,
        gid: null,
        path: null,
      },
    });
    strictEqual(await evict(fixture.context, path), outcome);
    if (outcome === "unconfirmed") strictEqual(await fixture.read("a,v"), "good");
  }
});

Deno.test("eviction leaves a file alone that somebody holds open for writing", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  using _held = await Deno.open(`${fixture.root}/a,v`, { read: true, write: true });
  strictEqual(await evict(fixture.context, fixture.path("a,v")), "busy");
  strictEqual(await fixture.read("a,v"), "one");
});

Deno.test("eviction leaves a file alone that changed since its upload", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await fixture.write("a,v", "newer");
  strictEqual(await evict(fixture.context, fixture.path("a,v")), "changed");
  strictEqual(await fixture.read("a,v"), "newer");
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.state, "dirty");
});

Deno.test("a file that was renamed a moment ago is not restored under its old name", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "content");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  // The event of the rename is still on its way when p4d opens the old name.
  const renamed = async (): Promise<boolean> => {
    await engine.renamed({
      from: fixture.path("a,v"),
      to: fixture.path("b,v"),
      what: "file",
      ino: null,
      writerUid: 0,
    });
    return true;
  };
  const context = { ...fixture.context, eventsUntilNow: renamed };
  const space = new SpaceLedger(context, () => {});
  const recall = new RecallBudget(context);
  const restorer = new Restorer({ context, space, recall }, () => {});
  await rejects(restorer.restore(fixture.path("a,v")), { fault: "NOTFOUND" });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
  strictEqual((await restorer.restore(fixture.path("b,v"))).wasEvicted, true);
});

Deno.test("a marker that was renamed a moment ago is restored under its new name", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "content");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  const renamed = async (): Promise<boolean> => {
    await engine.renamed({
      from: fixture.path("a,v"),
      to: fixture.path("b,v"),
      what: "file",
      ino: null,
      writerUid: 0,
    });
    return true;
  };
  const context = { ...fixture.context, eventsUntilNow: renamed };
  const space = new SpaceLedger(context, () => {});
  const recall = new RecallBudget(context);
  const restorer = new Restorer({ context, space, recall }, () => {});
  strictEqual((await restorer.restore(fixture.path("b,v"))).wasEvicted, true);
  strictEqual(await fixture.read("b,v"), "content");
});

Deno.test("a marker that took a name which another file has left is not taken for a stray one", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const [a, b, c] = ["a,v", "b,v", "c,v"].map((name) => fixture.path(name));
  await evicted(fixture, "a,v", "first");
  await evicted(fixture, "b,v", "second");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/c,v`);
  await Deno.rename(`${fixture.root}/b,v`, `${fixture.root}/a,v`);
  await engine.renamed({ from: a!, to: c!, what: "file", ino: null, writerUid: 0 });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
  await engine.renamed({ from: b!, to: a!, what: "file", ino: null, writerUid: 0 });
  strictEqual((await fixture.restorer.restore(a!)).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "second");
  strictEqual((await fixture.restorer.restore(c!)).wasEvicted, true);
  strictEqual(await fixture.read("c,v"), "first");
});

Deno.test("a file that was renamed to and fro is known by its inode, not by where it lies now", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const [a, b] = ["a,v", "b,v"].map((name) => fixture.path(name));
  const absolute = (name: string): string => `${fixture.root}/${name}`;
  await evicted(fixture, "a,v", "history");
  const ino = fixture.posix.lstat(absolute("a,v"))!.ino;
  await fixture.write("b,v", "replaced");
  await observe(fixture.context, b!, REPORTED);
  await Deno.rename(absolute("a,v"), absolute("b,v"));
  await Deno.rename(absolute("b,v"), absolute("a,v"));
  // Both events come when the file is back under its first name.
  const rest = { what: "file", ino, writerUid: 0 } as const;
  await engine.renamed({ from: a!, to: b!, ...rest });
  await engine.renamed({ from: b!, to: a!, ...rest });
  strictEqual((await fixture.restorer.restore(a!)).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "history");
  strictEqual(fixture.manifest.get(b!), null);
});

Deno.test("a file that was replaced by one that was renamed on does not come back", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const [a, b] = ["a,v", "b,v"].map((name) => fixture.path(name));
  await stored(fixture, "a,v", "older");
  await fixture.write("tmp.1", "newer");
  const { ino } = fixture.posix.lstat(`${fixture.root}/tmp.1`)!;
  await Deno.rename(`${fixture.root}/tmp.1`, `${fixture.root}/a,v`);
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  // Something looked at b,v before the events came.
  await observe(fixture.context, b!, MET);
  const rest = { what: "file", ino, writerUid: 0 } as const;
  await engine.renamed({ from: fixture.path("tmp.1"), to: a!, ...rest });
  await engine.renamed({ from: a!, to: b!, ...rest });
  strictEqual(fixture.manifest.get(a!), null);
  strictEqual(fixture.manifest.tombstonesOf(a!).length, 1);
  await rejects(fixture.restorer.restore(a!), { fault: "NOTFOUND" });
  strictEqual(await fixture.read("b,v"), "newer");
});

Deno.test("a file that a symbolic link has replaced goes, also when the link was moved on", async () => {
  for (const isMovedOn of [false, true]) {
    await using fixture = await openEngineFixture();
    const engine = new Engine(fixture.context);
    const [link, a, b] = ["link,v", "a,v", "b,v"].map((name) => fixture.path(name));
    const absolute = (name: string): string => `${fixture.root}/${name}`;
    await stored(fixture, "a,v", "older");
    await fixture.write("a,v", "newer");
    await observe(fixture.context, a!, REPORTED);
    await Deno.symlink("nowhere", absolute("link,v"));
    const { ino } = fixture.posix.lstat(absolute("link,v"))!;
    await Deno.rename(absolute("link,v"), absolute("a,v"));
    if (isMovedOn) await Deno.rename(absolute("a,v"), absolute("b,v"));
    const rest = { what: "other", ino, writerUid: 0 } as const;
    await engine.renamed({ from: link!, to: a!, ...rest });
    if (isMovedOn) await engine.renamed({ from: a!, to: b!, ...rest });
    strictEqual(fixture.manifest.get(a!), null);
    strictEqual(fixture.manifest.get(b!), null);
    strictEqual(fixture.manifest.tombstonesOf(a!).length, 1);
    await scanDepot(fixture.context, { source: "scan", trusts: "newer" });
    const kind = fixture.posix.lstat(absolute("a,v"))?.kind;
    strictEqual(kind, isMovedOn ? undefined : "symlink");
  }
});

Deno.test("a file that is exchanged with a symbolic link keeps its row", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const [link, a] = ["link,v", "a,v"].map((name) => fixture.path(name));
  const absolute = (name: string): string => `${fixture.root}/${name}`;
  await stored(fixture, "a,v", "content");
  await Deno.symlink("nowhere", absolute("link,v"));
  const [file, other] = ["a,v", "link,v"].map((name) =>
    fixture.posix.lstat(absolute(name))!.ino
  );
  const before = fixture.manifest.get(a!)!;
  await Deno.rename(absolute("link,v"), absolute("aside"));
  await Deno.rename(absolute("a,v"), absolute("link,v"));
  await Deno.rename(absolute("aside"), absolute("a,v"));
  // As renameat2(RENAME_EXCHANGE) is told.
  await engine.renamed({ from: link!, to: a!, what: "other", ino: other!, writerUid: 0 });
  await engine.renamed({ from: a!, to: link!, what: "file", ino: file!, writerUid: 0 });
  strictEqual(fixture.manifest.get(a!), null);
  strictEqual(fixture.manifest.get(link!)?.stored?.key, before.stored?.key);
  strictEqual(fixture.manifest.tombstonesOf(a!).length, 0);
});

Deno.test("a delete takes in the renames before it: the row may be of a file that left", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "of b,v by now");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  await fixture.write("a,v", "another");
  await Deno.remove(`${fixture.root}/a,v`);
  const context = {
    ...fixture.context,
    eventsUntilNow: async () => {
      await engine.renamed({
        from: fixture.path("a,v"),
        to: fixture.path("b,v"),
        what: "file",
        ino: null,
        writerUid: 0,
      });
      return true;
    },
  };
  await deleteFile(context, fixture.path("a,v"));
  strictEqual(fixture.manifest.tombstonesOf(fixture.path("a,v")).length, 0);
  strictEqual((await fixture.restorer.restore(fixture.path("b,v"))).wasEvicted, true);
  strictEqual(await fixture.read("b,v"), "of b,v by now");
});

Deno.test("a delete counts although the marker was put back before it was looked at", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "content");
  await Deno.remove(`${fixture.root}/a,v`);
  const putBack = async (): Promise<boolean> => {
    await observe(fixture.context, path, MET);
    return true;
  };
  strictEqual(
    await deleteFile({ ...fixture.context, eventsUntilNow: putBack }, path),
    "deleted",
  );
  strictEqual(fixture.manifest.get(path), null);
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
});

Deno.test("a delete takes no file whose marker has the number of one that was put back", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest, posix, root } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "content");
  context.putBack.note(path, posix.lstat(`${root}/a,v`)!.ino);
  strictEqual(await deleteFile(context, path), "kept");
  strictEqual((await fixture.restorer.restore(path)).wasEvicted, true);
  strictEqual(manifest.tombstonesOf(path).length, 0);
  strictEqual(await fixture.read("a,v"), "content");
});

Deno.test("a delete takes no file that came to the name, and left it, while it was looked at", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  const [a, b, c] = ["a,v", "b,v", "c,v"].map((name) => fixture.path(name));
  await evicted(fixture, "a,v", "deleted");
  await evicted(fixture, "b,v", "alive");
  const rest = { what: "file", ino: null, writerUid: 0 } as const;
  await Deno.remove(`${fixture.root}/a,v`);
  await Deno.rename(`${fixture.root}/b,v`, `${fixture.root}/a,v`);
  const events = [
    // Of the two renames only the first is told in time.
    async (): Promise<void> => {
      await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/c,v`);
      await engine.renamed({ from: b!, to: a!, ...rest });
    },
    (): Promise<void> => engine.renamed({ from: a!, to: c!, ...rest }),
  ];
  const context = {
    ...fixture.context,
    eventsUntilNow: async () => {
      await events.shift()?.();
      return true;
    },
  };
  await deleteFile(context, a!);
  strictEqual(fixture.manifest.get(a!), null);
  strictEqual((await fixture.restorer.restore(c!)).wasEvicted, true);
  strictEqual(await fixture.read("c,v"), "alive");
});

Deno.test("nothing is deleted, put back or restored to an empty name while the watcher does not tell", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "content");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  const entry = fixture.manifest.get(path);
  const context = { ...fixture.context, eventsUntilNow: () => Promise.resolve(false) };
  const notCaughtUp = { name: "NotCaughtUpError" };
  await rejects(deleteFile(context, path), notCaughtUp);
  await rejects(observe(context, path, MET), notCaughtUp);
  const space = new SpaceLedger(context, () => {});
  const recall = new RecallBudget(context);
  const restorer = new Restorer({ context, space, recall }, () => {});
  for (const name of ["a,v", "b,v"]) {
    await rejects(restorer.restore(fixture.path(name)), { fault: "UNAVAILABLE" });
  }
  const report = await scanDepot(context, { source: "scan", trusts: "newer" });
  strictEqual(report.failing, 1);
  deepStrictEqual(fixture.manifest.get(path), entry);
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
  strictEqual(fixture.posix.lstat(`${fixture.root}/b,v`)?.kind, "socket");
});

Deno.test("a name that was told to be gone gets no marker while its DELETE may be on its way", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "deleted");
  const path = fixture.path("a,v");
  await Deno.remove(`${fixture.root}/a,v`);
  let aheadMs = 0;
  const { clock } = fixture.context;
  const context = {
    ...fixture.context,
    clock: {
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs() + aheadMs,
      sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
    },
    eventsUntilNow: (): Promise<boolean> => {
      if (aheadMs === 0) engine.gone(path);
      return Promise.resolve(true);
    },
  };
  for (const reason of [REPORTED_APART, SAME_BOOT]) {
    strictEqual(await observe(context, path, reason), "nothing");
    strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
  }
  aheadMs = VANISH_GRACE_MS;
  strictEqual(await observe(context, path, REPORTED_APART), "put-marker");
});

Deno.test("a restore never replaces what p4d wrote over the marker meanwhile", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "old");
  const { primary } = fixture;
  const original = primary.download.bind(primary);
  primary.download = async (request) => {
    const result = await original(request);
    await fixture.write("a,v", "new, by p4d");
    return result;
  };
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "new, by p4d");
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.state, "dirty");
  strictEqual(countFiles(`${fixture.root}/.p4cache/tmp`), 0);
});

Deno.test("what p4d does to the marker while its restore is under way, the file has", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "content");
  const { primary, posix } = fixture;
  const path = `${fixture.root}/a,v`;
  const original = primary.download.bind(primary);
  primary.download = async (request) => {
    const result = await original(request);
    await Deno.chmod(path, 0o640);
    posix.setTimes(path, { atimeNs: null, mtimeNs: 1_234_567_890_000_000_007n });
    return result;
  };
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content");
  const { mode, mtimeNs } = posix.lstat(path)!;
  deepStrictEqual([mode, mtimeNs], [0o640, 1_234_567_890_000_000_007n]);
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.resident, true);
});

Deno.test("a restore goes on when the scan puts the missing marker back meanwhile", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "content");
  const { primary } = fixture;
  const original = primary.download.bind(primary);
  let downloads = 0;
  primary.download = async (request) => {
    if (++downloads === 1) {
      await Deno.remove(`${fixture.root}/a,v`);
      await scanDepot(fixture.context, SAME_BOOT);
    }
    return await original(request);
  };
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content");
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.resident, true);
  strictEqual(countFiles(`${fixture.root}/.p4cache/tmp`), 0);
});

Deno.test("a restore of wrong bytes fails closed and leaves the marker", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "good");
  const key = fixture.manifest.get(fixture.path("a,v"))!.stored!.key;
  await fixture.primary.delete({ key });
  const bad = new TextEncoder().encode("evil");
  await fixture.primary.upload({
    key,
    source: {
      sizeBytes: 4,
      read: (buffer) => (buffer.set(bad), Promise.resolve(4)),
    },
    metadata: { hash: null, mtimeNs: null, mode: null, uid: null, gid: null, path: null },
  });
  await rejects(fixture.restorer.restore(fixture.path("a,v")), { fault: "CORRUPT" });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
  strictEqual(countFiles(`${fixture.root}/.p4cache/tmp`), 0);
});

Deno.test("the secondary serves what the primary does not have", async () => {
  const secondary = openMemBackend();
  await using fixture = await openEngineFixture({ secondary });
  await evicted(fixture, "a,v", "content");
  const { key, hash } = fixture.manifest.get(fixture.path("a,v"))!.stored!;
  const bytes = new TextEncoder().encode("content");
  await secondary.upload({
    key,
    source: { sizeBytes: 7, read: (buffer) => (buffer.set(bytes), Promise.resolve(7)) },
    metadata: { hash, mtimeNs: null, mode: null, uid: null, gid: null, path: null },
  });
  await fixture.primary.delete({ key });
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content");
});

Deno.test("a marker that somebody touched is stamped again and restored", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "head 1.1;");
  strictEqual(await evict(fixture.context, fixture.path("a,v")), "evicted");
  const path = `${fixture.root}/a,v`;
  fixture.posix.setTimes(path, { atimeNs: 1_800_000_000_000_000_000n, mtimeNs: null });
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "head 1.1;");
});

Deno.test("a marker without a row is a fault, never an absent file", async () => {
  await using fixture = await openEngineFixture();
  fixture.posix.makeMarker(`${fixture.root}/a,v`, {
    sizeBytes: 5,
    mode: 0o444,
    uid: 0,
    gid: 0,
    mtimeNs: 1n,
  });
  await rejects(fixture.restorer.restore(fixture.path("a,v")), { fault: "CORRUPT" });
  await rejects(fixture.restorer.restore(fixture.path("b,v")), { fault: "NOTFOUND" });
});

Deno.test("only a DELETE makes a tombstone: a file that is just gone comes back as a marker", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await stored(fixture, "b,v", "two");
  await Deno.remove(`${fixture.root}/a,v`);
  await Deno.remove(`${fixture.root}/b,v`);
  await deleteFile(fixture.context, fixture.path("b,v"));
  await scanDepot(fixture.context, SAME_BOOT);
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
  strictEqual(fixture.posix.lstat(`${fixture.root}/b,v`), null);
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "one");
  await rejects(fixture.restorer.restore(fixture.path("b,v")), { fault: "NOTFOUND" });
});

Deno.test("a DELETE that comes after the file was written again deletes nothing", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await fixture.write("a,v", "two");
  await deleteFile(fixture.context, fixture.path("a,v"));
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.state, "dirty");
});

Deno.test("the sweeper removes exactly the object of a deleted file, and undelete is before", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "one");
  await stored(fixture, "b,v", "two");
  await Deno.remove(`${fixture.root}/a,v`);
  await deleteFile(fixture.context, fixture.path("a,v"));
  strictEqual(await new TombstoneSweeper(fixture.context).runPass(), 1);
  deepStrictEqual(await keysOf(fixture.primary), ["b,v"]);
});

Deno.test("a scan after a reboot takes an unreported difference for a conflict, and uploads nothing", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v", "history");
  await fixture.write("a,v", "\0\0\0\0\0");
  await scanDepot(fixture.context, AFTER_REBOOT);
  const row = fixture.manifest.get(fixture.path("a,v"))!;
  strictEqual(row.flags.conflict, true);
  deepStrictEqual(fixture.manifest.dirtyDue(Date.now() + 1e9, 10), []);
  strictEqual(await evict(fixture.context, fixture.path("a,v")), "not-evictable");
});

Deno.test("a scan in the same boot takes a newer file for a write that nobody was there to see", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "one");
  await fixture.write("a,v", "one and two");
  await fixture.write("new,v", "new");
  await scanDepot(fixture.context, SAME_BOOT);
  for (const name of ["a,v", "new,v"]) {
    strictEqual(fixture.manifest.get(fixture.path(name))?.state, "dirty");
  }
});

Deno.test("a scan knows a restore that a crash cut off from the manifest", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "one");
  await fixture.write("a,v", "one");
  await scanDepot(fixture.context, AFTER_REBOOT);
  const row = fixture.manifest.get(fixture.path("a,v"))!;
  deepStrictEqual([row.state, row.resident, row.flags.conflict], ["clean", true, false]);
});

Deno.test("a scan stops when many files that have no other copy are missing", async () => {
  await using fixture = await openEngineFixture();
  for (let i = 0; i < 102; i++) {
    await fixture.write(`d/${i},v`, "x");
    await observe(fixture.context, fixture.path(`d/${i},v`), REPORTED);
  }
  await Deno.rename(`${fixture.root}/d`, `${fixture.root}/elsewhere`);
  const report = await scanDepot(fixture.context, SAME_BOOT);
  match(report.stopped ?? "", /not mounted/);
  for (let i = 0; i < 102; i++) {
    strictEqual(fixture.manifest.get(fixture.path(`d/${i},v`))?.state, "dirty");
  }
});

Deno.test("recovery keeps a file that an interrupted exchange took out of the depot", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, context } = fixture;
  await Deno.writeTextFile(
    `${root}/.p4cache/tmp/id1.1`,
    "written by p4d in the last moment",
  );
  await Deno.writeTextFile(`${root}/.p4cache/evicting/id2.1.1.1`, "this one too");
  const own = `${root}/.p4cache/tmp/id3`;
  posix.close(posix.createTemp(own, 0o600));
  await Deno.rename(own, `${own}.${posix.lstat(own)!.ino}`);
  const report = await recoverDirectories(posix, context.root, context.log);
  deepStrictEqual(report, { removed: 1, returned: 0, kept: 2 });
  strictEqual(countFiles(`${root}/.p4cache/lost+found`), 2);
});

Deno.test("a scan that is to be slow rests, and goes on fast when somebody waits for it", async () => {
  await using fixture = await openEngineFixture();
  for (let i = 0; i < 30; i++) await fixture.write(`d/${i},v`, "x");
  const slept: number[] = [];
  const sleep = (ms: number): Promise<void> => {
    slept.push(ms);
    return Promise.resolve();
  };
  const context = { ...fixture.context, clock: { ...SYSTEM_CLOCK, sleep } };
  let isWaitedFor = false;
  const report = await scanDepot(context, SAME_BOOT, () => {
    if (slept.length > 2) isWaitedFor = true;
    return isWaitedFor ? null : 10;
  });
  // 31 entries of the walk, ten a second, until somebody waits.
  deepStrictEqual(slept.slice(0, 3), [1000, 1000, 1000]);
  ok(slept.slice(3).every((ms) => ms === 0));
  deepStrictEqual([report.filesSeen, report.actions], [30, { written: 30 }]);
});

/** The disk as a crash leaves it: `p4d` took the name right before an eviction's exchange. */
async function cutShort(fixture: EngineFixture, text: string): Promise<string> {
  const { root, posix } = fixture;
  await evicted(fixture, "a,v", "one");
  const { ino, mtimeNs } = posix.lstat(`${root}/a,v`)!;
  const aside = `${root}/.p4cache/evicting/id1.1.3.5`;
  await Deno.writeTextFile(aside, text);
  // As helpers/posix/note.c writes it: the marker was put, file 1 of 3 bytes was wanted.
  const note = `1 0 140000 ${ino} 0 ${mtimeNs} 100000 1 3 5 ${root}/a,v`;
  await Deno.symlink(note, `${aside}.note`);
  return aside;
}

Deno.test("a file that a crash left aside goes back to its name, and is the newest version", async () => {
  await using fixture = await openEngineFixture();
  const { context, posix, root } = fixture;
  await cutShort(fixture, "written by p4d");
  const report = await recoverDirectories(posix, context.root, context.log);
  deepStrictEqual(report, { removed: 0, returned: 1, kept: 0 });
  strictEqual(await fixture.read("a,v"), "written by p4d");
  strictEqual(countFiles(`${root}/.p4cache/evicting`), 0);
  await scanDepot(context, SAME_BOOT);
  strictEqual(fixture.manifest.get(fixture.path("a,v"))?.state, "dirty");
});

Deno.test("a file that a crash left aside is kept where its name was written since", async () => {
  await using fixture = await openEngineFixture();
  const { context, posix, root } = fixture;
  await cutShort(fixture, "written by p4d");
  await Deno.writeTextFile(`${root}/new`, "written after the crash");
  await Deno.rename(`${root}/new`, `${root}/a,v`);
  const report = await recoverDirectories(posix, context.root, context.log);
  deepStrictEqual(report, { removed: 0, returned: 0, kept: 1 });
  strictEqual(await fixture.read("a,v"), "written after the crash");
  strictEqual(
    await Deno.readTextFile(`${root}/.p4cache/lost+found/id1.1.3.5`),
    "written by p4d",
  );
  strictEqual(countFiles(`${root}/.p4cache/evicting`), 0);
});

Deno.test("what an exchange that failed has left aside goes back to its name as soon as the disk works", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest, posix, root } = fixture;
  await fixture.write("a,v", "one");
  await observe(context, fixture.path("a,v"), REPORTED);
  await upload(context, fixture.path("a,v"));
  // p4d takes the name right before the exchange, and taking that back fails.
  posix.putMarker = async ({ target, aside, expect, marker }) => {
    await fixture.write("a,v", "written by p4d");
    posix.makeMarker(aside, marker);
    const { ino, mtimeNs } = posix.lstat(aside)!;
    const { ino: file, sizeBytes, mtimeNs: fileMtimeNs } = expect;
    await Deno.symlink(
      `1 0 140000 ${ino} 0 ${mtimeNs} 100000 ${file} ${sizeBytes} ${fileMtimeNs} ${target}`,
      `${aside}.note`,
    );
    posix.exchange(aside, target);
    throw new PosixError("exchange", target, 5);
  };
  let failures = 3;
  const recover = posix.recoverExchange.bind(posix);
  posix.recoverExchange = (aside) => {
    if (failures-- > 0) throw new PosixError("recover", aside, 5);
    return recover(aside);
  };
  const slept: number[] = [];
  const sleep = (ms: number): Promise<void> => Promise.resolve(void slept.push(ms));
  const slow = { ...context, clock: { ...SYSTEM_CLOCK, sleep } };
  await rejects(evict(slow, fixture.path("a,v")), /EIO/);
  deepStrictEqual(slept, [1000, 1000, 1000]);
  strictEqual(await fixture.read("a,v"), "written by p4d");
  strictEqual(countFiles(`${root}/.p4cache/evicting`), 0);
  await scanDepot(context, SAME_BOOT);
  strictEqual(manifest.get(fixture.path("a,v"))?.state, "dirty");
});

Deno.test("STAT stamps a marker whose times somebody changed", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "four");
  fixture.posix.setTimes(`${fixture.root}/a,v`, { atimeNs: 5n, mtimeNs: null });
  strictEqual((await statFile(fixture.context, fixture.path("a,v")))?.stat.sizeBytes, 4);
  strictEqual((await statFile(fixture.context, fixture.path("a,v")))?.resident, false);
});

Deno.test("a file that is renamed while it is evicted is found under its new name", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "content");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  // A look that came before the event found the old name empty.
  await scanDepot(fixture.context, SAME_BOOT);
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
  await engine.renamed({
    from: fixture.path("a,v"),
    to: fixture.path("b,v"),
    what: "file",
    ino: null,
    writerUid: 0,
  });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
  strictEqual(fixture.manifest.get(fixture.path("a,v")), null);
  await engine.restore(fixture.path("b,v"));
  strictEqual(await fixture.read("b,v"), "content");
});

Deno.test("an evicted file that takes the place of another one leaves that one's tombstone", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "a,v", "one");
  await evicted(fixture, "b,v", "two");
  await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
  await engine.renamed({
    from: fixture.path("a,v"),
    to: fixture.path("b,v"),
    what: "file",
    ino: null,
    writerUid: 0,
  });
  await engine.restore(fixture.path("b,v"));
  strictEqual(await fixture.read("b,v"), "one");
  strictEqual(fixture.manifest.tombstonesOf(fixture.path("b,v")).length, 1);
});

Deno.test("a directory of evicted files that is renamed is found under its new name", async () => {
  await using fixture = await openEngineFixture();
  const engine = new Engine(fixture.context);
  await evicted(fixture, "old/a,v", "one");
  await Deno.rename(`${fixture.root}/old`, `${fixture.root}/new`);
  await engine.renamed({
    from: fixture.path("old"),
    to: fixture.path("new"),
    what: "directory",
    ino: null,
    writerUid: 0,
  });
  await engine.restore(fixture.path("new/a,v"));
  strictEqual(await fixture.read("new/a,v"), "one");
});

Deno.test("a scan of a depot whose disk has changed stops, and changes nothing", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  await evicted(fixture, "a,v", "one");
  await fixture.write("b,v", "never uploaded");
  await observe(context, fixture.path("b,v"), REPORTED);
  const rows = manifest.entries("", null, 10);
  const moved = { ...context, device: context.device + 1n };
  const report = await scanDepot(moved, SAME_BOOT);
  match(report.stopped ?? "", /another file system/);
  await observe(moved, fixture.path("b,v"), REPORTED);
  await rejects(new Engine(moved).restore(fixture.path("a,v")), /mounted over it/);
  deepStrictEqual(manifest.entries("", null, 10), rows);
});

Deno.test("a file system that is mounted in the depot is left alone, and what it hides too", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest, posix, root } = fixture;
  await evicted(fixture, "d/a,v", "one");
  await fixture.write("d/b,v", "never uploaded");
  await observe(context, fixture.path("d/b,v"), REPORTED);
  const rows = manifest.entries("", null, 10);
  // As if d/ lay on another disk: every look there says so, and the names are missing.
  const lstat = posix.lstat.bind(posix);
  posix.lstat = (path) => {
    if (path.startsWith(`${root}/d/`)) return null;
    const stat = lstat(path);
    return path === `${root}/d` && stat !== null ? { ...stat, dev: 99n } : stat;
  };
  posix.openWalk = () => ({
    nextBatch: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  });
  const report = await scanDepot(context, SAME_BOOT);
  deepStrictEqual([report.stopped, report.actions], [null, {}]);
  deepStrictEqual(manifest.entries("", null, 10), rows);
});

Deno.test("a restore counts as waited for while its download hangs, and no longer than it does", async () => {
  await using fixture = await openEngineFixture();
  const { primary, restorer } = fixture;
  await evicted(fixture, "a,v", "content");
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  const download = primary.download.bind(primary);
  primary.download = async (request) => {
    asked.resolve();
    await answer.promise;
    return await download(request);
  };
  const restores = [1, 2].map(() => restorer.restore(fixture.path("a,v")));
  await asked.promise;
  strictEqual(restorer.waitingCount, 1);
  answer.resolve();
  await Promise.all(restores);
  strictEqual(restorer.waitingCount, 0);
});
