import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { type BytePath, bytePathOf } from "../core/names.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { acceptLocal, restoreStored } from "./conflict.ts";
import type { EngineContext } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { scanDepot } from "./scan.ts";
import { upload } from "./upload.ts";

const AFTER_REBOOT = { source: "scan", trusts: "none" } as const;

/** `d/a,v`: "stored" is in the store, "local" on the disk, and only a scan saw it. */
async function inConflict(fixture: EngineFixture): Promise<void> {
  await fixture.write("d/a,v", "stored");
  await observe(fixture.context, fixture.path("d/a,v"), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path("d/a,v")), "uploaded");
  await fixture.write("d/a,v", "local one");
  await scanDepot(fixture.context, AFTER_REBOOT);
  ok(fixture.manifest.get(fixture.path("d/a,v"))!.flags.conflict);
}

function keptFiles({ root }: EngineFixture): string[] {
  return [...Deno.readDirSync(`${root}/.p4cache/lost+found`)].map(({ name }) =>
    Deno.readTextFileSync(`${root}/.p4cache/lost+found/${name}`)
  );
}

Deno.test("acceptLocal() uploads the local file under a new key and leaves the stored bytes in the store", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  const before = fixture.manifest.get(path)!.stored!;
  deepStrictEqual(await acceptLocal(fixture.context, path, false), { isDone: true });
  strictEqual(fixture.manifest.counters().conflicts, 0);
  strictEqual(await upload(fixture.context, path), "uploaded");
  const after = fixture.manifest.get(path)!.stored!;
  ok(after.key !== before.key);
  strictEqual((await fixture.primary.head(before.key))!.sizeBytes, "stored".length);
  strictEqual(await evict(fixture.context, path), "evicted");
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("d/a,v"), "local one");
});

Deno.test("restoreStored() brings the stored version back and keeps the local one in lost+found", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  const verdict = await restoreStored(fixture.context, path, false);
  ok(verdict.isDone);
  match(verdict.keptAs!, /^\.p4cache\/lost\+found\/id\d+\.a,v$/);
  strictEqual(await fixture.read(verdict.keptAs!), "local one");
  const entry = fixture.manifest.get(path)!;
  deepStrictEqual(
    [entry.state, entry.resident, entry.flags.conflict],
    ["clean", false, false],
  );
  strictEqual(entry.local.sizeBytes, "stored".length);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("d/a,v"), "stored");
});

Deno.test("restoreStored() brings back what a foreign writer overwrote, with the owner it was stored with", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("d/a,v");
  await fixture.write("d/a,v", "stored");
  await Deno.chown(`${fixture.root}/d/a,v`, 12_345, 12_345);
  await observe(fixture.context, path, REPORTED, 0);
  await upload(fixture.context, path);
  await fixture.write("d/a,v", "by somebody else");
  await observe(fixture.context, path, REPORTED);
  await fixture.manifest.apply(path, "any", {
    kind: "flagged",
    flags: { foreign: true },
  });
  ok((await restoreStored(fixture.context, path, false)).isDone);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("d/a,v"), "stored");
  strictEqual((await Deno.lstat(`${fixture.root}/d/a,v`)).uid, 12_345);
  deepStrictEqual(keptFiles(fixture), ["by somebody else"]);
  strictEqual(fixture.manifest.counters().conflicts, 0);
});

Deno.test("restoreStored() changes nothing while the store does not have its version whole", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  await fixture.primary.delete({ key: fixture.manifest.get(path)!.stored!.key });
  const verdict = await restoreStored(fixture.context, path, false);
  ok(!verdict.isDone);
  strictEqual(verdict.why, "the primary store does not have its version whole");
  strictEqual(await fixture.read("d/a,v"), "local one");
  ok(fixture.manifest.get(path)!.flags.conflict);
});

Deno.test("restoreStored() leaves a file that is open for writing", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  const writer = await Deno.open(`${fixture.root}/d/a,v`, { append: true });
  const busy = await restoreStored(fixture.context, path, false);
  writer.close();
  deepStrictEqual(busy, {
    isDone: false,
    why: "it is being written just now: try again",
  });
});

for (const races of [1, 2, 3]) {
  Deno.test(`restoreStored() gives way to a writer who takes the name ${races} times at the exchange`, async () => {
    await using fixture = await openEngineFixture();
    await inConflict(fixture);
    const path = fixture.path("d/a,v");
    let raced = 0;
    const racing = withExchange(fixture, (target) => {
      if (raced === races) return;
      raced += 1;
      Deno.writeTextFileSync(`${fixture.root}/newer`, `newer ${raced}`);
      Deno.renameSync(`${fixture.root}/newer`, target);
    });
    ok(!(await restoreStored(racing, path, false)).isDone);
    strictEqual(raced, races);
    strictEqual(await fixture.read("d/a,v"), `newer ${races}`);
    // What a rename did not remove itself is in its place or in lost+found.
    for (const name of keptFiles(fixture)) match(name, /^newer \d$/);
  });
}

Deno.test("restoreStored() takes no other file's marker for its own when that has its number since", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix } = fixture;
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  let exchanges = 0;
  let own = 0n;
  const other = { mode: 0o444, uid: 0, gid: 0, mtimeNs: 1_000_000_001n, sizeBytes: 9 };
  const racing = withExchange(fixture, (target) => {
    exchanges += 1;
    if (exchanges === 1) {
      const [name] = posix.readDirectory(`${root}/.p4cache/lost+found`)!;
      own = posix.lstat(`${root}/.p4cache/lost+found/${name!.path}`)!.ino;
      // The local file is another one by now, so that it is to go back.
      Deno.writeTextFileSync(target, "written again");
    } else if (exchanges === 2) {
      posix.makeMarker(bytePathOf(`${root}/c,v`), other);
      Deno.renameSync(`${root}/c,v`, target);
    }
  });
  const lstat = racing.posix.lstat.bind(racing.posix);
  const reused = new Proxy(racing.posix, {
    get: (target, name) =>
      name !== "lstat" ? Reflect.get(target, name) : (at: BytePath) => {
        const stat = lstat(at);
        const isOther = stat?.kind === "socket" && stat.mtimeNs === other.mtimeNs;
        return isOther ? { ...stat, ino: own } : stat;
      },
  });
  const verdict = await restoreStored({ ...racing, posix: reused }, path, false);
  ok(!verdict.isDone);
  const left = posix.lstat(bytePathOf(`${root}/d/a,v`));
  deepStrictEqual([left?.kind, left?.mtimeNs], ["socket", other.mtimeNs]);
  deepStrictEqual(keptFiles(fixture), ["written again"]);
});

/** The same engine where `before` runs right before each exchange. */
function withExchange(
  fixture: EngineFixture,
  before: (target: string) => void,
): EngineContext {
  const posix = new Proxy(fixture.context.posix, {
    get(target, name): unknown {
      if (name === "exchange") {
        return (a: string, b: string): void => {
          before(b);
          target.exchange(a, b);
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...fixture.context, posix };
}

for (const kind of ["vanished", "attributes", "flagged"] as const) {
  Deno.test(`restoreStored() that dies before "${kind}" is durable can be done again, and both versions are there`, async () => {
    await using fixture = await openEngineFixture();
    await inConflict(fixture);
    const path = fixture.path("d/a,v");
    const dying = { ...fixture.context, manifest: diesAt(fixture.manifest, kind) };
    await rejects(restoreStored(dying, path, false), /power cut/);
    await scanDepot(fixture.context, AFTER_REBOOT);
    deepStrictEqual(keptFiles(fixture), ["local one"]);
    ok((await restoreStored(fixture.context, path, false)).isDone);
    deepStrictEqual(keptFiles(fixture), ["local one"]);
    await fixture.restorer.restore(path);
    strictEqual(await fixture.read("d/a,v"), "stored");
  });
}

Deno.test("acceptLocal() that dies leaves the decision open and the file unsent", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  const dying = { ...fixture.context, manifest: diesAt(fixture.manifest, "written") };
  await rejects(acceptLocal(dying, path, false), /power cut/);
  strictEqual(fixture.manifest.counters().conflicts, 1);
  deepStrictEqual(fixture.manifest.dirtyDue(Date.now(), 9), []);
  ok((await acceptLocal(fixture.context, path, false)).isDone);
  strictEqual(fixture.manifest.dirtyDue(Date.now(), 9).length, 1);
});

Deno.test("a dry run of either decision changes nothing, and neither decides what is no conflict", async () => {
  await using fixture = await openEngineFixture();
  await inConflict(fixture);
  const path = fixture.path("d/a,v");
  const before = fixture.manifest.get(path);
  ok((await acceptLocal(fixture.context, path, true)).isDone);
  ok((await restoreStored(fixture.context, path, true)).isDone);
  deepStrictEqual(fixture.manifest.get(path), before);
  strictEqual(await fixture.read("d/a,v"), "local one");
  const why = "it is neither in conflict nor foreign: see p4-cache conflicts list";
  const other = fixture.path("d/b,v");
  deepStrictEqual(await acceptLocal(fixture.context, other, false), {
    isDone: false,
    why,
  });
  deepStrictEqual(await restoreStored(fixture.context, other, false), {
    isDone: false,
    why,
  });
});

/** The manifest of a machine that loses its power right before such a change. */
function diesAt(manifest: Manifest, kind: string): Manifest {
  return new Proxy(manifest, {
    get(target, name): unknown {
      const value = Reflect.get(target, name, target);
      if (name !== "apply") {
        return typeof value === "function" ? value.bind(target) : value;
      }
      return (...args: Parameters<Manifest["apply"]>) =>
        args[2].kind === kind
          ? Promise.reject(new Error("power cut"))
          : target.apply(...args);
    },
  });
}
