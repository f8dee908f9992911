import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import { Engine } from "../engine/engine.ts";
import type { EngineContext } from "../engine/engine_context.ts";
import { MET, observe, REPORTED, SCAN } from "../engine/observe.ts";
import { PutBackMarkers } from "../engine/put_back.ts";
import type { Rename } from "../engine/rename.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { upload } from "../engine/upload.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { PosixError } from "../posix/posix.ts";
import { asUnproven } from "../manifest/unproven.ts";
import { isOlder, parseFailedDelete } from "./failed_delete_record.ts";
import { FailedDeletes } from "./failed_deletes.ts";

/** Nothing is done by itself when the test is over, and its files are gone. */
const WITHOUT_TIMERS: Clock = {
  nowMs: () => SYSTEM_CLOCK.nowMs(),
  monotonicMs: () => SYSTEM_CLOCK.monotonicMs(),
  sleep: () => new Promise(() => {}),
};

const EMFILE = 24;

/** Later than every row of a test. */
const LATER_MS = 5_000;

async function stored(fixture: EngineFixture, path: string): Promise<void> {
  await fixture.write(path, "text");
  await observe(fixture.context, fixture.path(path), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(path)), "uploaded");
}

/** As shim/remove.c writes one. */
function record(path: string, ts = Date.now() + LATER_MS): string {
  return `{"ts":${ts},"pid":9,"uid":0,"path":"${path}","why":"unreachable"}\n`;
}

function logOf({ root }: EngineFixture): string {
  return `${root}/.p4cache/shim-failed-deletes.log`;
}

function deletesOf(fixture: EngineFixture, manifest = fixture.manifest): FailedDeletes {
  const context = { ...fixture.context, manifest, clock: WITHOUT_TIMERS };
  return new FailedDeletes(context, () => [
    fixture.failures.map((it) => JSON.stringify(it)).join("\n"),
  ]);
}

function leftovers({ root }: EngineFixture): string[] {
  return [...Deno.readDirSync(`${root}/.p4cache`)]
    .map(({ name }) => name).filter((name) => name.includes("failed-deletes"));
}

Deno.test("a failed delete is applied, put into the ledger once, and its file removed", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/a,v");
  await Deno.remove(`${fixture.root}/d/a,v`);
  await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
  const deletes = deletesOf(fixture);
  deepStrictEqual(await deletes.drain(), { recorded: 1, applied: 1 });
  deepStrictEqual(await deletes.finish(), { recorded: 1, applied: 1 });
  strictEqual(fixture.manifest.get(fixture.path("d/a,v")), null);
  strictEqual(fixture.manifest.tombstonesOf(fixture.path("d/a,v")).length, 1);
  const { op, path, applied, uid } = fixture.failures[0]!;
  deepStrictEqual({ op, path, applied, uid }, {
    op: "delete",
    path: "d/a,v",
    applied: true,
    uid: 0,
  });
  deepStrictEqual(leftovers(fixture), []);
  deepStrictEqual(await deletesOf(fixture).drain(), { recorded: 0, applied: 0 });
});

Deno.test("a failed delete is only put into the ledger when the file is there, newer, or none of ours", async () => {
  await using fixture = await openEngineFixture();
  for (const path of ["d/here,v", "d/newer,v"]) await stored(fixture, path);
  await Deno.remove(`${fixture.root}/d/newer,v`);
  await Deno.writeTextFile(
    logOf(fixture),
    record("d/here,v") + record("d/newer,v", Date.now() - LATER_MS) +
      record("../../etc/passwd") + record("db.rev") + record("d/unknown,v"),
  );
  const deletes = deletesOf(fixture);
  await deletes.drain();
  deepStrictEqual(await deletes.finish(), { recorded: 5, applied: 0 });
  deepStrictEqual(fixture.failures.map(({ applied }) => applied), [
    false,
    false,
    false,
    false,
    false,
  ]);
  for (const path of ["d/here,v", "d/newer,v"]) {
    ok(fixture.manifest.get(fixture.path(path)) !== null, path);
  }
});

Deno.test("a failed delete is applied where the name has a link or a directory since, and stays so", async () => {
  for (const make of [Deno.mkdir, (name: string) => Deno.symlink("b,v", name)]) {
    await using fixture = await openEngineFixture();
    const { context, manifest, root } = fixture;
    const path = fixture.path("d/a,v");
    await stored(fixture, "d/a,v");
    await Deno.remove(`${root}/d/a,v`);
    await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
    await make(`${root}/d/a,v`);
    // A look may have come first.
    await observe(context, path, MET);
    deepStrictEqual(await deletesOf(fixture).drain(), { recorded: 1, applied: 1 });
    deepStrictEqual(
      [manifest.get(path), manifest.tombstonesOf(path).length],
      [null, 1],
    );
    await Deno.remove(`${root}/d/a,v`);
    await new Engine(context).scan(SCAN);
    strictEqual(await Deno.lstat(`${root}/d/a,v`).catch(() => null), null);
  }
});

Deno.test("a drain that dies at any change of the manifest is gone on with, each record once", async () => {
  // Three tombstones, and the position behind them.
  for (let changes = 0; changes <= 4; changes++) {
    await using fixture = await openEngineFixture();
    const paths = ["d/a,v", "d/b,v", "d/c,v"];
    for (const path of paths) {
      await stored(fixture, path);
      await Deno.remove(`${fixture.root}/${path}`);
    }
    const text = paths.map((path) => record(path)).join("");
    await Deno.writeTextFile(logOf(fixture), text);
    const dying = deletesOf(fixture, diesAfter(fixture.manifest, changes));
    if (changes < 4) await rejects(dying.drain(), /power cut/);
    else await dying.drain();
    const again = deletesOf(fixture);
    await again.drain();
    await again.finish();
    deepStrictEqual(fixture.failures.map(({ path }) => path), paths);
    for (const path of paths) strictEqual(fixture.manifest.get(fixture.path(path)), null);
    deepStrictEqual(leftovers(fixture), []);
  }
});

Deno.test("the ledger is read once for a file that a daemon before had begun, and never for another", async () => {
  await using fixture = await openEngineFixture();
  const names = Array.from({ length: 200 }, (_, i) => `d/f${i},v`);
  const text = names.map((name) => record(name)).join("");
  await Deno.writeTextFile(logOf(fixture), text);
  let reads = 0;
  const opened = (manifest = fixture.manifest): FailedDeletes =>
    new FailedDeletes({ ...fixture.context, manifest, clock: WITHOUT_TIMERS }, () => {
      reads += 1;
      return [fixture.failures.map((it) => JSON.stringify(it)).join("\n")];
    });
  // The second position is not kept: 64 records of it are in the ledger already.
  await rejects(opened(diesAfter(fixture.manifest, 1)).drain(), /power cut/);
  strictEqual(reads, 0);
  strictEqual(fixture.failures.length, 128);
  const again = opened();
  await again.drain();
  await again.finish();
  strictEqual(reads, 1);
  deepStrictEqual(fixture.failures.map(({ path }) => path), names);
});

Deno.test("a position that is refused, and records in the ledger already: once each, also in one daemon", async () => {
  await using fixture = await openEngineFixture();
  await Deno.writeTextFile(logOf(fixture), record("a,v") + record("b,v"));
  let left = 2;
  const manifest: Manifest = new Proxy(fixture.manifest, {
    get(target, name): unknown {
      const value = Reflect.get(target, name, target);
      if (name === "setMeta" && left-- > 0) {
        return () => Promise.reject(new ManifestError("full", "no room"));
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const deletes = deletesOf(fixture, manifest);
  await deletes.begin();
  await deletes.begin();
  strictEqual(leftovers(fixture).length, 1);
  await deletes.finish();
  deepStrictEqual(fixture.failures.map(({ path }) => path), ["a,v", "b,v"]);
  deepStrictEqual(leftovers(fixture), []);
});

Deno.test("a ledger that cannot be read keeps no delete from being applied", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/a,v");
  await Deno.remove(`${fixture.root}/d/a,v`);
  await Deno.writeTextFile(`${logOf(fixture)}.draining-of1before`, record("d/a,v"));
  const context = { ...fixture.context, clock: WITHOUT_TIMERS };
  const deletes = new FailedDeletes(context, () => {
    throw new Error("EIO");
  });
  deepStrictEqual(await deletes.drain(), { recorded: 1, applied: 1 });
});

Deno.test("a record that a slow shim adds after the rename, or behind a torn one, is taken over too", async () => {
  await using fixture = await openEngineFixture();
  await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
  const shim = await Deno.open(logOf(fixture), { append: true });
  const deletes = deletesOf(fixture);
  strictEqual((await deletes.drain()).recorded, 1);
  await shim.write(new TextEncoder().encode(record("d/b,v") + '{"ts":12'));
  shim.close();
  await Deno.writeTextFile(logOf(fixture), record("d/c,v"));
  strictEqual((await deletes.finish()).recorded, 2);
  deepStrictEqual(leftovers(fixture), ["shim-failed-deletes.log"]);
  strictEqual((await deletesOf(fixture).drain()).recorded, 1);
});

Deno.test("a log that is not the shim's does no harm", async () => {
  await using fixture = await openEngineFixture();
  const bytes = new Uint8Array(200_000).fill(120);
  bytes.set(
    new TextEncoder().encode(`\nnull\n[]\n{"ts":1}\n${record("d/a,v")}`),
    100_000,
  );
  await Deno.writeFile(logOf(fixture), bytes);
  const deletes = deletesOf(fixture);
  await deletes.drain();
  deepStrictEqual(await deletes.finish(), { recorded: 1, applied: 0 });
  await Deno.symlink("/etc/passwd", logOf(fixture));
  deepStrictEqual(await deletesOf(fixture).drain(), { recorded: 0, applied: 0 });
  ok((await Deno.lstat(logOf(fixture))).isSymlink);
});

Deno.test("a file that cannot be read stays, is told of, and keeps no other from being taken over", async () => {
  await using fixture = await openEngineFixture();
  const unreadable = "shim-failed-deletes.log.draining-0";
  await Deno.mkdir(`${fixture.root}/.p4cache/${unreadable}`);
  await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
  const deletes = deletesOf(fixture);
  await deletes.drain();
  deepStrictEqual(await deletes.finish(), { recorded: 1, applied: 0 });
  deepStrictEqual(leftovers(fixture), [unreadable]);
});

Deno.test("parseFailedDelete() takes the shim's records and nothing else", () => {
  deepStrictEqual(parseFailedDelete(record("d/\\u00e9,v", 7).trimEnd()), {
    tsMs: 7,
    path: "d/\xe9,v",
    pid: 9,
    uid: 0,
    why: "unreachable",
  });
  for (const bad of ["", "7", "null", "{}", '{"ts":"7","path":"a"}', '{"ts":-1}']) {
    strictEqual(parseFailedDelete(bad), null, bad);
  }
});

Deno.test("takeOverNew() applies what is written down while the daemon serves, in turn", async () => {
  await using fixture = await openEngineFixture();
  for (const path of ["a,v", "b,v"]) {
    await stored(fixture, path);
    await Deno.remove(`${fixture.root}/${path}`);
  }
  const deletes = deletesOf(fixture);
  await deletes.takeOverNew();
  ok(fixture.manifest.get(fixture.path("a,v")) !== null, "nothing was written down");
  await Deno.writeTextFile(logOf(fixture), record("a,v"));
  const first = deletes.takeOverNew();
  // The file is renamed by now or will be: a second caller waits for what it holds.
  await Promise.all([first, deletes.takeOverNew()]);
  strictEqual(fixture.manifest.get(fixture.path("a,v")), null);
  ok(fixture.manifest.get(fixture.path("b,v")) !== null);
});

Deno.test("a record waits for the renames before it: the row may be on its way to the name", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/a,v");
  await Deno.rename(`${fixture.root}/d`, `${fixture.root}/e`);
  await Deno.remove(`${fixture.root}/e/a,v`);
  await Deno.writeTextFile(logOf(fixture), record("e/a,v"));
  const [from, to] = [fixture.path("d"), fixture.path("e")];
  const context = {
    ...fixture.context,
    eventsUntilNow: async () => {
      await fixture.manifest.moveTree(from, to, Date.now());
      return true;
    },
  };
  await new FailedDeletes(context, () => []).drain();
  strictEqual(fixture.manifest.get(fixture.path("e/a,v")), null);
});

Deno.test("a record takes along the marker that a look put back before it was written down", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await stored(fixture, "a,v");
  await Deno.remove(`${fixture.root}/a,v`);
  strictEqual(await observe(fixture.context, path, MET), "vanished");
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
  await Deno.writeTextFile(logOf(fixture), record("a,v"));
  await deletesOf(fixture).drain();
  strictEqual(fixture.manifest.get(path), null);
  strictEqual(fixture.manifest.tombstonesOf(path).length, 1);
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
});

/** The engine, as the daemon wires it to what the shim wrote down. */
function wired(fixture: EngineFixture): { engine: Engine; deletes: FailedDeletes } {
  const deletes = deletesOf(fixture);
  const context: EngineContext = {
    ...fixture.context,
    applyDeletesBelow: (directory) => deletes.applyBelow(directory),
  };
  return { engine: new Engine(context), deletes };
}

function directoryRename(fixture: EngineFixture, from: string, to: string): Rename {
  const [source, target] = [fixture.path(from), fixture.path(to)];
  return { from: source, to: target, what: "directory", ino: null, writerUid: 0 };
}

Deno.test("a delete that was written down is applied before its directory moves, and goes to the ledger once", async () => {
  await using fixture = await openEngineFixture();
  for (const name of ["a,v", "b,v", "c,v"]) await stored(fixture, `d/${name}`);
  const { engine, deletes } = wired(fixture);
  await Deno.remove(`${fixture.root}/d/a,v`);
  const now = Date.now();
  await Deno.writeTextFile(logOf(fixture), record("d/a,v", now) + record("d/b,v", now));
  await Deno.rename(`${fixture.root}/d`, `${fixture.root}/e`);
  engine.gone(fixture.path("d/a,v"));
  await engine.renamed(directoryRename(fixture, "d", "e"));
  // A daemon that dies now forgets what was told to be gone: the manifest says it.
  strictEqual(fixture.manifest.get(fixture.path("e/a,v")), null);
  strictEqual(fixture.manifest.tombstonesOf(fixture.path("d/a,v")).length, 1);
  deepStrictEqual(fixture.failures, []);
  // Nobody was told that it is gone: its own turn decides.
  ok(fixture.manifest.get(fixture.path("e/b,v")) !== null);
  ok(fixture.manifest.get(fixture.path("e/c,v")) !== null);
  await deletes.drain();
  deepStrictEqual(fixture.failures.map(({ path, applied }) => [path, applied]), [
    ["d/a,v", true],
    ["d/b,v", false],
  ]);
  ok(fixture.manifest.get(fixture.path("e/b,v")) !== null);
});

Deno.test("a delete is applied to the row that has moved with its directory since", async () => {
  await using fixture = await openEngineFixture();
  for (const name of ["a,v", "b,v"]) await stored(fixture, `d/${name}`);
  const { engine, deletes } = wired(fixture);
  for (const name of ["a,v", "b,v"]) await Deno.remove(`${fixture.root}/d/${name}`);
  await Deno.rename(`${fixture.root}/d`, `${fixture.root}/e`);
  for (const name of ["a,v", "b,v"]) engine.gone(fixture.path(`d/${name}`));
  await engine.renamed(directoryRename(fixture, "d", "e"));
  await Deno.rename(`${fixture.root}/e`, `${fixture.root}/f`);
  await engine.renamed(directoryRename(fixture, "e", "f"));
  // One by a record that came late, one by the shim's own word.
  await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
  await deletes.takeOverNew();
  const root = { uid: 0, gid: 0 };
  strictEqual(await engine.delete(fixture.path("d/b,v"), root), "deleted");
  for (const name of ["a,v", "b,v"]) {
    strictEqual(fixture.manifest.get(fixture.path(`f/${name}`)), null, name);
    strictEqual(fixture.manifest.tombstonesOf(fixture.path(`f/${name}`)).length, 1);
  }
});

Deno.test("a delete that was written down never takes another file that has the name, or had it, since", async () => {
  await using fixture = await openEngineFixture();
  for (const name of ["d/a,v", "q,v", "r,v"]) await stored(fixture, name);
  const { engine, deletes } = wired(fixture);
  const [a, q] = [fixture.path("d/a,v"), fixture.path("q,v")];
  await Deno.remove(`${fixture.root}/d/a,v`);
  await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
  engine.gone(a);
  // An older file takes the name, and leaves it with the directory.
  await Deno.rename(`${fixture.root}/q,v`, `${fixture.root}/d/a,v`);
  const file = { what: "file", ino: null, writerUid: 0 } as const;
  await engine.renamed({ from: q, to: a, ...file });
  await Deno.rename(`${fixture.root}/d`, `${fixture.root}/e`);
  await engine.renamed(directoryRename(fixture, "d", "e"));
  await deletes.drain();
  strictEqual(await fixture.read("e/a,v"), "text");
  ok(fixture.manifest.get(fixture.path("e/a,v")) !== null);
  deepStrictEqual(fixture.failures.map(({ applied }) => applied), [false]);
});

Deno.test("what is written down waits for a watcher that does not tell, and is taken over once", async () => {
  await using fixture = await openEngineFixture();
  for (const path of ["a,v", "b,v"]) {
    await stored(fixture, path);
    await Deno.remove(`${fixture.root}/${path}`);
  }
  let isTold = false;
  const log = createMemoryLogger();
  const context = {
    ...fixture.context,
    clock: WITHOUT_TIMERS,
    eventsUntilNow: () => Promise.resolve(isTold),
    log,
  };
  const deletes = new FailedDeletes(context, () => []);
  await Deno.writeTextFile(logOf(fixture), record("a,v"));
  strictEqual(await deletes.takeOverNew(), false);
  await Deno.writeTextFile(logOf(fixture), record("b,v"));
  strictEqual(await deletes.takeOverNew(), false);
  deepStrictEqual((await deletes.finish()).recorded, 0);
  for (const path of ["a,v", "b,v"]) {
    ok(fixture.manifest.get(fixture.path(path)) !== null);
  }
  isTold = true;
  // Whichever comes first when the watcher tells again: each tells what it took over.
  await deletes.finish();
  strictEqual(await deletes.takeOverNew(), true);
  deepStrictEqual(
    log.records.filter(({ message }) => message.startsWith("took over deletes"))
      .map(({ fields }) => fields),
    [{ recorded: 1, applied: 1 }, { recorded: 1, applied: 1 }],
  );
  for (const path of ["a,v", "b,v"]) {
    strictEqual(fixture.manifest.get(fixture.path(path)), null);
  }
  deepStrictEqual(fixture.failures.map(({ path }) => path), ["a,v", "b,v"]);
  await deletes.finish();
  deepStrictEqual(leftovers(fixture), []);
});

Deno.test("finish() leaves what it cannot look at to the next look", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "a,v");
  await Deno.remove(`${fixture.root}/a,v`);
  await Deno.writeTextFile(logOf(fixture), record("a,v"));
  let hasDescriptors = true;
  const { posix } = fixture.context;
  const readDirectory = posix.readDirectory.bind(posix);
  posix.readDirectory = (path): ReturnType<typeof readDirectory> => {
    if (hasDescriptors) return readDirectory(path);
    throw new PosixError("walk", path, EMFILE);
  };
  const deletes = deletesOf(fixture);
  await deletes.drain();
  hasDescriptors = false;
  deepStrictEqual(await deletes.finish(), { recorded: 1, applied: 1 });
  strictEqual(leftovers(fixture).length, 1);
  hasDescriptors = true;
  strictEqual(await deletes.takeOverNew(), true);
  deepStrictEqual(await deletes.finish(), { recorded: 1, applied: 1 });
  deepStrictEqual(leftovers(fixture), []);
});

Deno.test("isOlder() goes by the ctime, and by the second where there is none", () => {
  const at = (ctimeNs: bigint): Parameters<typeof isOlder>[0] => ({
    settledAtS: 10,
    local: { ctimeNs },
  });
  strictEqual(isOlder(at(0n), 10_999), false);
  strictEqual(isOlder(at(0n), 11_000), true);
  strictEqual(isOlder(at(10_401_000_000n), 10_400), false, "made since");
  strictEqual(isOlder(at(10_399_999_999n), 10_400), true);
  strictEqual(isOlder(at(10_400_999_999n), 10_400), true, "the same millisecond");
  const unproven = (ctimeNs: bigint): Parameters<typeof isOlder>[0] => ({
    settledAtS: 10,
    local: asUnproven({ ctimeNs }),
  });
  strictEqual(isOlder(unproven(11_001_000_000n), 11_000), false, "made since");
  strictEqual(isOlder(unproven(10_399_999_999n), 10_400), true);
});

/** The manifest of a machine that loses its power after so many changes. */
function diesAfter(manifest: Manifest, changes: number): Manifest {
  let left = changes;
  return new Proxy(manifest, {
    get(target, name): unknown {
      const value = Reflect.get(target, name, target);
      if (name !== "apply" && name !== "setMeta") {
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (...args: unknown[]) =>
        left-- <= 0
          ? Promise.reject(new Error("power cut"))
          : Reflect.apply(value, target, args);
    },
  });
}

Deno.test("a failed delete takes along the marker that a daemon before put back, and no other", async () => {
  for (const isOfAnother of [false, true]) {
    await using fixture = await openEngineFixture();
    const { context, root, manifest, posix } = fixture;
    const path = fixture.path("d/a,v");
    await stored(fixture, "d/a,v");
    await Deno.remove(`${root}/d/a,v`);
    strictEqual(await observe(context, path, MET), "vanished");
    strictEqual(posix.lstat(`${root}/d/a,v`)?.kind, "socket");
    if (isOfAnother) {
      await stored(fixture, "d/b,v");
      await Deno.remove(`${root}/d/b,v`);
      await observe(context, fixture.path("d/b,v"), MET);
      await Deno.rename(`${root}/d/b,v`, `${root}/d/a,v`);
    }
    await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
    // A daemon that has just started.
    const next = { ...context, putBack: new PutBackMarkers(), clock: WITHOUT_TIMERS };
    const deletes = new FailedDeletes(next, () => []);
    deepStrictEqual(await deletes.drain(), { recorded: 1, applied: isOfAnother ? 0 : 1 });
    strictEqual(manifest.get(path) === null, !isOfAnother);
    strictEqual(posix.lstat(`${root}/d/a,v`) === null, !isOfAnother);
  }
});

for (
  const [directoryMode, mode, applied] of [
    [0o755, 0o644, true],
    [0o711, 0o660, false],
    [0o700, 0o660, true],
  ] as const
) {
  Deno.test(`what stands in a log of mode ${mode.toString(8)} below ${directoryMode.toString(8)} is ${applied ? "" : "not "}taken for the word of the daemon's user`, async () => {
    await using fixture = await openEngineFixture();
    await stored(fixture, "d/a,v");
    await Deno.remove(`${fixture.root}/d/a,v`);
    await Deno.writeTextFile(logOf(fixture), record("d/a,v"));
    await Deno.chmod(logOf(fixture), mode);
    await Deno.chmod(`${fixture.root}/.p4cache`, directoryMode);
    const deletes = deletesOf(fixture);
    await deletes.drain();
    deepStrictEqual(await deletes.finish(), { recorded: 1, applied: applied ? 1 : 0 });
    strictEqual(fixture.manifest.get(fixture.path("d/a,v")) === null, applied);
    deepStrictEqual(fixture.failures.map((it) => it.applied), [applied]);
    deepStrictEqual(leftovers(fixture), []);
  });
}
