import {
  deepStrictEqual,
  notStrictEqual,
  rejects,
  strictEqual,
} from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf } from "../core/names.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { MET, observe, REPORTED, SCAN } from "./observe.ts";
import { scanDepot } from "./scan.ts";
import { upload } from "./upload.ts";

async function stored(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<void> {
  await fixture.write(name, content);
  await observe(fixture.context, fixture.path(name), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
}

Deno.test("an evicted file that is renamed unwatched over one of its size is refused, not taken for it", async () => {
  await using fixture = await openEngineFixture();
  const { context, root, restorer } = fixture;
  for (const [name, content] of [["a,v", "one"], ["b,v", "two"]] as const) {
    await fixture.write(name, content);
    // Where times are those of ticks both would have the same.
    fixture.posix.setTimes(bytePathOf(`${root}/${name}`), {
      atimeNs: null,
      mtimeNs: BigInt(content.charCodeAt(0)) * 1_000_000_000n,
    });
    await observe(context, fixture.path(name), REPORTED);
    strictEqual(await upload(context, fixture.path(name)), "uploaded");
    strictEqual(await evict(context, fixture.path(name)), "evicted");
  }
  const { mtimeNs } = fixture.posix.lstat(`${root}/a,v`)!;
  notStrictEqual(mtimeNs, fixture.posix.lstat(`${root}/b,v`)!.mtimeNs);
  await Deno.rename(`${root}/a,v`, `${root}/b,v`);
  await rejects(restorer.restore(fixture.path("b,v")), {
    fault: "CORRUPT",
    message: /another file's/,
  });
});

Deno.test("a marker is not taken for the row's own by the number of its inode alone", async () => {
  await using fixture = await openEngineFixture();
  const { context, root, restorer, manifest } = fixture;
  for (const [name, content] of [["a,v", "one"], ["b,v", "three"]] as const) {
    await stored(fixture, name, content);
    strictEqual(await evict(context, fixture.path(name)), "evicted");
  }
  // The marker of the row went while nobody watched, and another file's got its number.
  const path = fixture.path("b,v");
  const { ino } = fixture.posix.lstat(`${root}/a,v`)!;
  const stat = { ...manifest.get(path)!.local, ino };
  await manifest.apply(path, "any", { kind: "attributes", stat });
  await Deno.rename(`${root}/a,v`, `${root}/b,v`);
  await rejects(restorer.restore(path), { fault: "CORRUPT", message: /another file's/ });
});

Deno.test("a marker that was put back is restored, though the row does not know its inode", async () => {
  await using fixture = await openEngineFixture();
  const { context, root, restorer } = fixture;
  await stored(fixture, "a,v", "one");
  strictEqual(await evict(context, fixture.path("a,v")), "evicted");
  await Deno.remove(`${root}/a,v`);
  await scanDepot(context, { source: "scan", trusts: "none" });
  strictEqual((await restorer.restore(fixture.path("a,v"))).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "one");
});

Deno.test("a marker whose row a crash cut short may be given another time", async () => {
  await using fixture = await openEngineFixture();
  const { context, root, manifest, restorer, posix } = fixture;
  const path = fixture.path("a,v");
  await stored(fixture, "a,v", "one");
  const { sizeBytes, mode, uid, gid, mtimeNs } = manifest.get(path)!.local;
  await Deno.remove(`${root}/a,v`);
  posix.makeMarker(`${root}/a,v`, { sizeBytes, mode, uid, gid, mtimeNs });
  await scanDepot(context, { source: "scan", trusts: "newer" });
  // As the shim sets times of a marker: its atime stays.
  const { success } = await new Deno.Command("touch", {
    args: ["-m", "-d", "@1000", `${root}/a,v`],
  }).output();
  strictEqual(success, true);
  strictEqual((await restorer.restore(path)).wasEvicted, true);
  strictEqual(await fixture.read("a,v"), "one");
  strictEqual(posix.lstat(`${root}/a,v`)!.mtimeNs, 1_000_000_000_000n);
});

Deno.test("a new file is not stored under a key that a renamed file is known by", async () => {
  const secondary = openMemBackend();
  await using fixture = await openEngineFixture({ secondary });
  const { root, manifest, primary } = fixture;
  const [from, to] = [fixture.path("a,v"), fixture.path("b,v")];
  await stored(fixture, "a,v", "one");
  await Deno.rename(`${root}/a,v`, `${root}/b,v`);
  await manifest.move(from, to, Date.now());
  strictEqual(manifest.get(to)?.stored?.key, "a,v");
  // Somebody moved the object to the other store.
  await primary.delete({ key: manifest.get(to)!.stored!.key });

  await stored(fixture, "a,v", "two");
  notStrictEqual(manifest.get(from)!.stored!.key, "a,v");
});

for (const evicted of [[], ["a,v"], ["a,v", "b,v"]]) {
  Deno.test(`two files that trade places by one exchange keep their objects (evicted: ${evicted})`, async () => {
    await using fixture = await openEngineFixture();
    const { context, root, manifest, posix, restorer } = fixture;
    const engine = new Engine(context);
    const [a, b] = [fixture.path("a,v"), fixture.path("b,v")];
    await stored(fixture, "a,v", "of a");
    await stored(fixture, "b,v", "of b");
    for (const name of evicted) {
      strictEqual(await evict(context, fixture.path(name)), "evicted");
    }
    const [inoOfA, inoOfB] = [a, b].map((path) => posix.lstat(`${root}/${path}`)!.ino);
    posix.exchange(`${root}/a,v`, `${root}/b,v`);
    // As the kernel tells it.
    const told = { what: "file", writerUid: 0 } as const;
    await engine.renamed({ from: a, to: b, ino: inoOfA!, ...told });
    await engine.renamed({ from: b, to: a, ino: inoOfB!, ...told });

    deepStrictEqual([manifest.tombstonesOf(a), manifest.tombstonesOf(b)], [[], []]);
    const { kept, counted } = await manifest.recount();
    deepStrictEqual(kept, counted);
    for (const path of [a, b]) {
      strictEqual(manifest.get(path)?.state, "clean");
      await restorer.restore(path);
    }
    deepStrictEqual([await fixture.read("a,v"), await fixture.read("b,v")], [
      "of b",
      "of a",
    ]);
  });
}

Deno.test("a file that came with its directory and left again at once is not put back under that name", async () => {
  await using fixture = await openEngineFixture();
  const { root, manifest, posix } = fixture;
  const engine = new Engine(fixture.context);
  const path = fixture.path("s/1.1,v");
  await stored(fixture, "s/1.1,v", "one");
  await stored(fixture, "n/1.1,v", "two");
  for (const name of ["s/1.1,v", "n/1.1,v"]) {
    strictEqual(await evict(fixture.context, fixture.path(name)), "evicted");
  }
  const told = { ino: null, writerUid: 0 };
  const [s, n] = [fixture.path("s"), fixture.path("n")];
  const events: (() => Promise<unknown>)[] = [];
  const eventsUntilNow = async (): Promise<boolean> => {
    for (const event of events.splice(0)) await event();
    if (posix.lstat(`${root}/n`) === null) return true;
    // While the first renames are taken in, others are made.
    await Deno.rename(`${root}/n`, `${root}/s`);
    await Deno.rename(`${root}/s/1.1,v`, `${root}/c,v`);
    events.push(() =>
      engine.renamed({ from: path, to: fixture.path("c,v"), what: "file", ...told })
    );
    await engine.renamed({ from: n, to: s, what: "directory", ...told });
    return true;
  };
  await Deno.rename(`${root}/s/1.1,v`, `${root}/b,v`);
  events.push(() =>
    engine.renamed({ from: path, to: fixture.path("b,v"), what: "file", ...told })
  );
  await observe({ ...fixture.context, eventsUntilNow }, path, MET);
  strictEqual(posix.lstat(`${root}/s/1.1,v`), null);
  strictEqual(manifest.get(path), null);
  for (const [name, content] of [["b,v", "one"], ["c,v", "two"]] as const) {
    await fixture.restorer.restore(fixture.path(name));
    strictEqual(await fixture.read(name), content);
  }
});

Deno.test("a marker that was put back below a directory goes when that was renamed a moment before", async () => {
  await using fixture = await openEngineFixture();
  const { context, root, manifest, posix } = fixture;
  const engine = new Engine(context);
  const path = fixture.path("n/1.1,v");
  await stored(fixture, "n/1.1,v", "one");
  strictEqual(await evict(context, path), "evicted");
  await Deno.rename(`${root}/n`, `${root}/s`);
  await Deno.mkdir(`${root}/n`);
  strictEqual(await observe(context, path, MET), "put-marker");
  const [from, to] = [fixture.path("n"), fixture.path("s")];
  await engine.renamed({ from, to, what: "directory", ino: null, writerUid: 0 });
  strictEqual(posix.lstat(`${root}/n/1.1,v`), null);
  strictEqual(manifest.get(path), null);
  await fixture.restorer.restore(fixture.path("s/1.1,v"));
  strictEqual(await fixture.read("s/1.1,v"), "one");
});

Deno.test("a file that was written right before its directory was renamed is taken in under the new name", async () => {
  await using fixture = await openEngineFixture();
  const { root, manifest } = fixture;
  const engine = new Engine(fixture.context);
  await stored(fixture, "n/old,v", "one");
  await fixture.write("n/old,v", "two, longer");
  await fixture.write("n/new,v", "new");
  await Deno.rename(`${root}/n`, `${root}/s`);
  // Both were closed under the old name, and that is told when they have the new one.
  for (const name of ["old,v", "new,v"]) {
    strictEqual(await engine.wrote(fixture.path(`n/${name}`), 0), "nothing");
  }
  const [from, to] = [fixture.path("n"), fixture.path("s")];
  await engine.renamed({ from, to, what: "directory", ino: null, writerUid: 0 });
  for (const name of ["old,v", "new,v"]) {
    strictEqual(manifest.get(fixture.path(`s/${name}`))?.state, "dirty", name);
  }
});

Deno.test("a file that was replaced by one that was renamed on does not come back, although its restore is just recorded", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest } = fixture;
  const [a, b] = [fixture.path("a,v"), fixture.path("b,v")];
  await stored(fixture, "a,v", "older");
  await fixture.write("tmp.1", "newer");
  const { ino } = posix.lstat(`${root}/tmp.1`)!;
  await Deno.rename(`${root}/tmp.1`, `${root}/a,v`);
  await Deno.rename(`${root}/a,v`, `${root}/b,v`);
  await observe(fixture.context, b, MET);
  let isRecorded = false;
  const apply: Manifest["apply"] = async (path, expected, event) => {
    if (event.kind === "deleted" && !isRecorded) {
      isRecorded = true;
      const { local: stat } = manifest.get(a)!;
      await manifest.apply(a, "any", { kind: "attributes", stat });
    }
    return await manifest.apply(path, expected, event);
  };
  const recording = new Proxy(manifest, {
    get: (target, name) => {
      const value = Reflect.get(target, name, target);
      if (name === "apply") return apply;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const engine = new Engine({ ...fixture.context, manifest: recording });
  const rest = { what: "file", ino, writerUid: 0 } as const;
  await engine.renamed({ from: fixture.path("tmp.1"), to: a, ...rest });
  await engine.renamed({ from: a, to: b, ...rest });
  strictEqual(manifest.get(a), null);
  strictEqual(await fixture.read("b,v"), "newer");
});

for (const isTold of [true, false]) {
  Deno.test(`an evicted file that was renamed on keeps its row when another is made under the name between (inode told: ${isTold})`, async () => {
    await using fixture = await openEngineFixture();
    const { root, posix, manifest, context } = fixture;
    const [a, b, c] = ["a,v", "b,v", "c,v"].map((name) => fixture.path(name));
    await stored(fixture, "a,v", "history");
    strictEqual(await evict(context, a!), "evicted");
    const { ino } = posix.lstat(`${root}/a,v`)!;
    await Deno.rename(`${root}/a,v`, `${root}/b,v`);
    await Deno.rename(`${root}/b,v`, `${root}/c,v`);
    await fixture.write("b,v", "new");
    const rest = { what: "file", ino: isTold ? ino : null, writerUid: 0 } as const;
    const events: (() => Promise<unknown>)[] = [];
    const eventsUntilNow = async (): Promise<boolean> => {
      for (let it = events.shift(); it !== undefined; it = events.shift()) await it();
      return true;
    };
    const engine = new Engine({ ...context, eventsUntilNow });
    events.push(
      () => engine.renamed({ from: b!, to: c!, ...rest }),
      () => engine.wrote(b!, 0),
    );
    // Told when the other one is there already.
    await engine.renamed({ from: a!, to: b!, ...rest });
    await observe({ ...context, eventsUntilNow }, b!, MET);
    await eventsUntilNow();
    strictEqual(manifest.get(b!)?.state, "dirty");
    strictEqual(manifest.get(b!)?.stored, null);
    strictEqual((await fixture.restorer.restore(c!)).wasEvicted, true);
    strictEqual(await fixture.read("c,v"), "history");
    strictEqual(await fixture.read("b,v"), "new");
  });
}

Deno.test("the number of a deleted file's inode does not take the row of the next file along", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest, context } = fixture;
  const engine = new Engine(context);
  const [from, to] = [fixture.path("b,v"), fixture.path("a,v")];
  await stored(fixture, "a,v", "history");
  await stored(fixture, "b,v", "earlier");
  // By now the renamed file is deleted, and one that has its number was made and looked at.
  await Deno.remove(`${root}/a,v`);
  await fixture.write("b,v", "newest");
  await observe(context, from, MET);
  const { ino } = posix.lstat(`${root}/b,v`)!;
  strictEqual(manifest.get(from)?.local.ino, ino);
  await engine.renamed({ from, to, what: "file", ino, writerUid: 0 });
  engine.gone(to);
  strictEqual(manifest.get(from)?.local.ino, ino);
  strictEqual(manifest.get(from)?.stored?.sizeBytes, "earlier".length);
  strictEqual(manifest.get(to)?.stored?.sizeBytes, "history".length);
  // The DELETE is of the name.
  strictEqual(await engine.delete(to, { uid: 0, gid: 0 }), "deleted");
  strictEqual(manifest.get(to), null);
});

Deno.test("a file whose directory is renamed before it is looked at apart is taken in under the new name", async () => {
  await using fixture = await openEngineFixture();
  const { root, manifest } = fixture;
  const events: (() => Promise<void>)[] = [];
  const eventsUntilNow = async (): Promise<boolean> => {
    for (let it = events.shift(); it !== undefined; it = events.shift()) await it();
    return true;
  };
  const end = new AbortController();
  const engine = new Engine({
    ...fixture.context,
    eventsUntilNow,
    signal: end.signal,
  });
  await stored(fixture, "d/a,v", "old");
  strictEqual(await evict(fixture.context, fixture.path("d/a,v")), "evicted");
  await Deno.remove(`${root}/d/a,v`);
  await fixture.write("d/a,v", "new");
  const moved = Promise.withResolvers<void>();
  events.push(async () => {
    await Deno.rename(`${root}/d`, `${root}/e`);
    await engine.renamed({
      from: fixture.path("d"),
      to: fixture.path("e"),
      what: "directory",
      ino: null,
      writerUid: 0,
    });
    moved.resolve();
  });
  strictEqual(await engine.wrote(fixture.path("d/a,v"), 0), "unsure");
  await moved.promise;
  // Waits for the looks that are under way.
  end.abort();
  await engine.run();
  strictEqual(manifest.get(fixture.path("e/a,v"))?.state, "dirty");
});

Deno.test("drain() knows that a file is to be looked at apart, and waits for it where it is to wait", async () => {
  await using fixture = await openEngineFixture();
  const { root, context, manifest } = fixture;
  let told = Promise.resolve(true);
  const engine = new Engine({ ...context, eventsUntilNow: () => told });
  await stored(fixture, "a,v", "old");
  strictEqual(await evict(context, fixture.path("a,v")), "evicted");
  await engine.scan(SCAN);
  await Deno.remove(`${root}/a,v`);
  await fixture.write("a,v", "newer");
  const all = Promise.withResolvers<boolean>();
  told = all.promise;
  strictEqual(await engine.wrote(fixture.path("a,v"), 0), "unsure");
  const asked = { onProgress: () => {}, signal: new AbortController().signal };
  const { isDrained, dirtyFiles, unprovenFiles } = await engine.drain({
    ...asked,
    wait: false,
  });
  deepStrictEqual([isDrained, dirtyFiles, unprovenFiles], [false, 0, null]);
  const given = new AbortController();
  const left = engine.drain({ ...asked, signal: given.signal, wait: true });
  given.abort(new Error("the client has left"));
  await rejects(left, /has left/);
  // No engine runs here that would upload it.
  let uploading: Promise<unknown> | null = null;
  const draining = engine.drain({
    signal: asked.signal,
    wait: true,
    onProgress: () => void (uploading ??= upload(context, fixture.path("a,v"))),
  });
  all.resolve(true);
  strictEqual((await draining).isDrained, true);
  await uploading;
  strictEqual(manifest.get(fixture.path("a,v"))?.stored?.sizeBytes, "newer".length);
});

Deno.test("nor when the next file is gone again, too", async () => {
  await using fixture = await openEngineFixture();
  const { root, manifest, context } = fixture;
  const engine = new Engine(context);
  const [from, to] = [fixture.path("b,v"), fixture.path("a,v")];
  await stored(fixture, "a,v", "history");
  await stored(fixture, "b,v", "earlier");
  // The renamed file is deleted, its rename told; then one of its number is looked at, and deleted.
  await Deno.remove(`${root}/a,v`);
  const toldMs = Date.now() - 1_000;
  await fixture.write("b,v", "newest");
  await observe(context, from, MET);
  await Deno.remove(`${root}/b,v`);
  const { ino } = manifest.get(from)!.local;
  await engine.renamed({ from, to, what: "file", ino, writerUid: 0, toldMs });
  engine.gone(to);
  strictEqual(manifest.get(to)?.stored?.sizeBytes, "history".length);
  strictEqual(await engine.delete(to, { uid: 0, gid: 0 }), "deleted");
  strictEqual(await engine.delete(from, { uid: 0, gid: 0 }), "deleted");
  strictEqual(manifest.tombstonesOf(from).at(-1)?.stored.sizeBytes, "earlier".length);
});

for (const evicted of [false, true]) {
  Deno.test(`the row of a file that was deleted does not go along with the next one of its name (evicted: ${evicted})`, async () => {
    await using fixture = await openEngineFixture();
    const { root, posix, manifest, context } = fixture;
    const engine = new Engine(context);
    const [from, to] = [fixture.path("b,v"), fixture.path("a,v")];
    await stored(fixture, "b,v", "deleted");
    if (evicted) strictEqual(await evict(context, from), "evicted");
    // So that its number is not used again.
    await Deno.link(`${root}/b,v`, `${root}/.p4cache/kept`);
    await Deno.remove(`${root}/b,v`);
    await fixture.write("b,v", "made since");
    const { ino } = posix.lstat(`${root}/b,v`)!;
    await Deno.rename(`${root}/b,v`, `${root}/a,v`);
    engine.gone(from);
    await engine.renamed({ from, to, what: "file", ino, writerUid: 0 });
    strictEqual(manifest.get(to)?.stored, null);
    strictEqual(await engine.delete(from, { uid: 0, gid: 0 }), "deleted");
    strictEqual((await engine.undelete(from, false)).isDone, true);
    await fixture.restorer.restore(from);
    strictEqual(await fixture.read("b,v"), "deleted");
    strictEqual(await fixture.read("a,v"), "made since");
  });
}

for (const evicted of [false, true]) {
  Deno.test(`a file that is back under its name before its renames are told keeps its row (evicted: ${evicted})`, async () => {
    await using fixture = await openEngineFixture();
    const { root, posix, manifest, context } = fixture;
    const engine = new Engine(context);
    const [a, b] = [fixture.path("a,v"), fixture.path("b,v")];
    await stored(fixture, "a,v", "history");
    await stored(fixture, "b,v", "replaced");
    if (evicted) strictEqual(await evict(context, a), "evicted");
    await Deno.rename(`${root}/a,v`, `${root}/b,v`);
    await Deno.rename(`${root}/b,v`, `${root}/a,v`);
    const { ino } = posix.lstat(`${root}/a,v`)!;
    await engine.renamed({ from: a, to: b, what: "file", ino, writerUid: 0 });
    await engine.renamed({ from: b, to: a, what: "file", ino, writerUid: 0 });
    strictEqual(manifest.get(a)?.stored?.sizeBytes, "history".length);
    strictEqual(manifest.get(b), null);
    await fixture.restorer.restore(a);
    strictEqual(await fixture.read("a,v"), "history");
  });
}

Deno.test("a file that is renamed on in the moment of its eviction keeps its row, though others are made under the names", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest } = fixture;
  const [a, b, c] = [fixture.path("a,v"), fixture.path("b,v"), fixture.path("c,v")];
  await stored(fixture, "a,v", "history");
  await stored(fixture, "b,v", "of b");
  await fixture.write("b,v", "newer");
  await observe(fixture.context, b, REPORTED);
  const events: Promise<unknown>[] = [];
  const eventsUntilNow = async (): Promise<boolean> => {
    await Promise.all(events);
    return true;
  };
  const context = { ...fixture.context, eventsUntilNow };
  const engine = new Engine(context);
  const putMarker = posix.putMarker.bind(posix);
  posix.putMarker = async (eviction) => {
    const result = await putMarker(eviction);
    const { ino } = posix.lstat(`${root}/a,v`)!;
    await Deno.rename(`${root}/a,v`, `${root}/b,v`);
    await Deno.rename(`${root}/b,v`, `${root}/c,v`);
    for (const name of ["a,v", "b,v"]) await fixture.write(name, `new ${name}`);
    // Told while the row still has the file.
    const rest = { what: "file", ino, writerUid: 0 } as const;
    events.push(
      engine.renamed({ from: a, to: b, ...rest })
        .then(() => engine.renamed({ from: b, to: c, ...rest }))
        .then(() => engine.wrote(b, 0)),
    );
    return result;
  };
  strictEqual(await evict(context, a), "evicted");
  strictEqual((await fixture.restorer.restore(c)).wasEvicted, true);
  strictEqual(await fixture.read("c,v"), "history");
  for (const path of [a, b]) {
    strictEqual(await fixture.read(path), `new ${path}`);
    strictEqual(manifest.get(path)?.state, "dirty");
    strictEqual(manifest.get(path)?.stored, null);
  }
});

Deno.test("the row of a file that is evicted while its directory is renamed knows its marker", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest } = fixture;
  const [from, to] = [fixture.path("d"), fixture.path("e")];
  await stored(fixture, "d/a,v", "history");
  const engine = new Engine(fixture.context);
  const putMarker = posix.putMarker.bind(posix);
  let told = Promise.resolve();
  posix.putMarker = async (eviction) => {
    const result = await putMarker(eviction);
    await Deno.rename(`${root}/d`, `${root}/e`);
    told = engine.renamed({ from, to, what: "directory", ino: null, writerUid: 0 });
    return result;
  };
  strictEqual(await evict(fixture.context, fixture.path("d/a,v")), "evicted");
  await told;
  strictEqual(manifest.get(fixture.path("d/a,v")), null);
  const { resident, local } = manifest.get(fixture.path("e/a,v"))!;
  strictEqual(resident, false);
  strictEqual(local.ino, posix.lstat(`${root}/e/a,v`)!.ino);
});
