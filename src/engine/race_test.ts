// deno-lint-ignore-file no-sync-fn-in-async-fn -- a test looks at files
import {
  deepStrictEqual,
  match,
  notStrictEqual,
  ok,
  rejects,
  strictEqual,
} from "node:assert/strict";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import {
  afterPublishing,
  type EngineFixture,
  openEngineFixture,
  SIZES,
} from "../../tests/support/engine_fixture.ts";
import { InvariantError } from "../core/assert.ts";
import { bytePathOf, type DepotPath, objectKeyOf } from "../core/names.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import type { ExpectedMarker } from "../posix/posix.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { MET, observe, putMissingMarker, REPORTED, SCAN } from "./observe.ts";
import { undeleteFile } from "./undelete.ts";
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

for (const [name, sizeBytes] of Object.entries(SIZES)) {
  const padded = (text: string): string => text.padEnd(sizeBytes, "\n");

  Deno.test(`a ${name} file that is written in place right after its restore is not taken for what was restored`, async () => {
    await using fixture = await openEngineFixture();
    const path = fixture.path("a,v");
    await evicted(fixture, "a,v", padded("one"));
    afterPublishing(
      fixture.posix,
      () => Deno.writeTextFile(`${fixture.root}/a,v`, "two"),
    );
    await fixture.restorer.restore(path);
    strictEqual(fixture.manifest.get(path)?.state, "dirty");
    strictEqual(await evict(fixture.context, path), "not-evictable");
    strictEqual(await fixture.read("a,v"), "two");
  });

  Deno.test(`a ${name} program can be run as soon as its file has its name`, async () => {
    await using fixture = await openEngineFixture();
    const path = fixture.path("tool,v");
    await fixture.write("tool,v", padded("#!/bin/sh\necho ran\n"));
    await Deno.chmod(`${fixture.root}/tool,v`, 0o755);
    await observe(fixture.context, path, REPORTED);
    strictEqual(await upload(fixture.context, path), "uploaded");
    strictEqual(await evict(fixture.context, path), "evicted");
    let output = "";
    afterPublishing(fixture.posix, async () => {
      const { stdout } = await new Deno.Command(`${fixture.root}/tool,v`).output();
      output = new TextDecoder().decode(stdout);
    });
    strictEqual((await fixture.restorer.restore(path)).wasEvicted, true);
    strictEqual(output, "ran\n");
  });

  Deno.test(`what a writer puts into our ${name} copy, in the moment in which it had the name, is kept`, async () => {
    await using fixture = await openEngineFixture();
    const { context, posix, root } = fixture;
    await evicted(fixture, "a,v", padded("one"));
    let writer: Deno.FsFile | null = null;
    afterPublishing(posix, async (temp) => {
      // As an exchange that p4d came before: our copy has the name, and loses it again.
      writer = await Deno.open(`${root}/a,v`, { write: true });
      posix.rename(bytePathOf(`${root}/a,v`), temp);
      await fixture.write("a,v", "two");
      return "changed";
    });
    await fixture.restorer.restore(fixture.path("a,v"));
    await writer!.write(new TextEncoder().encode("written in place"));
    writer!.close();
    strictEqual(await fixture.read("a,v"), "two");
    const [kept] = [...Deno.readDirSync(`${root}/.p4cache/lost+found`)];
    const text = await Deno.readTextFile(`${root}/.p4cache/lost+found/${kept!.name}`);
    match(text, /^written in place/);
    const said = (context.log as ReturnType<typeof createMemoryLogger>).records;
    match(said.map(({ message }) => message).join(), /what was written is kept/);
  });
}

/** One that was put back is lost again: its row knows no inode. */
async function lostMarker(fixture: EngineFixture, path: DepotPath): Promise<void> {
  const marker = bytePathOf(`${fixture.root}/${path}`);
  fixture.posix.unlink(marker);
  strictEqual(await observe(fixture.context, path, MET), "put-marker");
  fixture.posix.unlink(marker);
}

Deno.test("a DELETE takes along the marker that a look put back meanwhile", async () => {
  await using fixture = await openEngineFixture();
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "one");
  await lostMarker(fixture, path);
  const deleted = deleteFile(fixture.context, path);
  putMissingMarker(fixture.context, path, fixture.manifest.get(path)!);
  strictEqual(await deleted, "deleted");
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
  await lostMarker(fixture, path);
  const deleted = deleteFile(context, path);
  putMissingMarker(context, path, fixture.manifest.get(path)!);
  await deleted;
  strictEqual(await fixture.read("a,v"), "two");
});

Deno.test("a file that vanished before its row was there is given up, not uploaded again and again", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await fixture.write("a,v", "untracked");
  // All before the row is committed.
  const look = observe(context, path, SCAN);
  fixture.posix.unlink(bytePathOf(`${fixture.root}/a,v`));
  new Engine(context).gone(path);
  await look;
  strictEqual(manifest.get(path)?.state, "dirty");
  strictEqual(await upload(context, path), "changed");
  strictEqual(manifest.get(path), null);
});

for (const moment of ["sent", "sending"] as const) {
  Deno.test(`a file that is deleted during its first upload, its bytes ${moment}, leaves no object behind`, async () => {
    const primary = openMemBackend({ nowMs: () => Date.now() });
    await using fixture = await openEngineFixture({
      primary,
      settings: { storeLookupOnMiss: true },
    });
    const { context } = fixture;
    const path = fixture.path("a,v");
    await written(fixture, "a,v", "content");
    const original = primary.upload.bind(primary);
    primary.upload = async (request) => {
      const info = moment === "sent" ? await original(request) : null;
      await Deno.remove(`${fixture.root}/a,v`);
      strictEqual(await deleteFile(context, path), "deleted");
      return info ?? await original(request);
    };
    strictEqual(await upload(context, path), "changed");
    notStrictEqual(await primary.head(objectKeyOf("a,v")), null);
    // Not even a lookup in the store brings it back.
    await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
    strictEqual(await new TombstoneSweeper(context).runPass(), 1);
    strictEqual(await primary.head(objectKeyOf("a,v")), null);
    deepStrictEqual(fixture.manifest.tombstonesOf(path), []);
  });
}

Deno.test("a file that is deleted after a crash during its first upload leaves no object behind", async () => {
  const primary = openMemBackend({ nowMs: () => Date.now() });
  await using fixture = await openEngineFixture({ primary });
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await written(fixture, "a,v", "content");
  const { apply } = manifest;
  manifest.apply = (name, expected, event) =>
    event.kind === "uploaded" || event.kind === "upload-failed"
      ? Promise.reject(new InvariantError("killed"))
      : apply.call(manifest, name, expected, event);
  await rejects(upload(context, path));
  manifest.apply = apply;
  await Deno.remove(`${fixture.root}/a,v`);
  strictEqual(await deleteFile(context, path), "deleted");
  strictEqual(await new TombstoneSweeper(context).runPass(), 1);
  strictEqual(await primary.head(objectKeyOf("a,v")), null);
});

for (const then of ["deleted", "overwritten"] as const) {
  Deno.test(`a file that was renamed and then ${then} does not come back under its first name`, async () => {
    const settings = { storeLookupOnMiss: true, deleteGraceSecs: 3_600 };
    await using fixture = await openEngineFixture({ settings });
    const { context, manifest, primary } = fixture;
    const [from, to] = [fixture.path("a,v"), fixture.path("b,v")];
    await written(fixture, "a,v", "first");
    strictEqual(await upload(context, from), "uploaded");
    await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
    await new Engine(context).renamed({
      from,
      to,
      what: "file",
      ino: null,
      writerUid: 0,
    });
    if (then === "deleted") {
      await Deno.remove(`${fixture.root}/b,v`);
      strictEqual(await deleteFile(context, to), "deleted");
    } else {
      await written(fixture, "b,v", "second");
      strictEqual(await upload(context, to), "uploaded");
    }
    notStrictEqual(await primary.head(objectKeyOf("a,v")), null);
    await rejects(fixture.restorer.restore(from), { fault: "NOTFOUND" });
    strictEqual(manifest.get(from), null);
    if (then === "overwritten") return;
    ok((await undeleteFile(context, to, false)).isDone);
    await rejects(fixture.restorer.restore(from), { fault: "NOTFOUND" });
    await fixture.restorer.restore(to);
    strictEqual(await fixture.read("b,v"), "first");
  });
}

for (const next of ["overwritten", "renamed", "deleted"] as const) {
  Deno.test(`the object of an upload whose answer was lost does not come back after its file was ${next}`, async () => {
    const primary = openMemBackend({ nowMs: () => Date.now() });
    const settings = { storeLookupOnMiss: true };
    await using fixture = await openEngineFixture({ primary, settings });
    const { context, manifest } = fixture;
    const path = fixture.path("a,v");
    const key = objectKeyOf("a,v");
    await written(fixture, "a,v", "first");
    const original = primary.upload.bind(primary);
    primary.upload = async (request) => {
      await original(request);
      throw new StorageError("unavailable", { operation: "upload", key, detail: "lost" });
    };
    strictEqual(await upload(context, path), "failed");
    primary.upload = original;
    notStrictEqual(await primary.head(key), null);

    let last = path;
    if (next === "overwritten") {
      await written(fixture, "a,v", "second");
      strictEqual(await upload(context, path), "uploaded");
      notStrictEqual(manifest.get(path)!.stored!.key, key);
    } else if (next === "renamed") {
      last = fixture.path("b,v");
      await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
      await new Engine(context).renamed({
        from: path,
        to: last,
        what: "file",
        ino: null,
        writerUid: 0,
      });
      strictEqual(await upload(context, last), "uploaded");
      await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
    } else {
      // With an mtime of long after the upload: that says nothing of when it was created.
      await written(fixture, "a,v", "second");
      await Deno.utime(`${fixture.root}/a,v`, 4e9, 4e9);
      await observe(context, path, REPORTED);
    }
    await Deno.remove(`${fixture.root}/${last}`);
    strictEqual(await deleteFile(context, last), "deleted");
    await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
    await new TombstoneSweeper(context).runPass();
    deepStrictEqual([manifest.tombstonesOf(path), await primary.head(key)], [[], null]);
    await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
  });
}

for (const isUploaded of [false, true]) {
  const what = isUploaded ? "uploaded" : "written";
  Deno.test(`an object that lay under the key before the file was ${what} is not the file's to remove`, async () => {
    let agoMs = 3_600_000;
    const primary = openMemBackend({ nowMs: () => Date.now() - agoMs });
    await using fixture = await openEngineFixture({ primary });
    const { context } = fixture;
    const key = objectKeyOf("a,v");
    const bytes = patternBytes(10, 1);
    await primary.upload({ key, source: sourceOf(bytes), metadata: metadataOf(bytes) });
    agoMs = 0;
    await written(fixture, "a,v", "content");
    if (isUploaded) strictEqual(await upload(context, fixture.path("a,v")), "uploaded");
    await Deno.remove(`${fixture.root}/a,v`);
    strictEqual(await deleteFile(context, fixture.path("a,v")), "deleted");
    const removed = await new TombstoneSweeper(context).runPass();
    strictEqual(removed, isUploaded ? 1 : 0, "its own");
    notStrictEqual(await primary.head(key), null);
    deepStrictEqual(fixture.manifest.tombstonesOf(fixture.path("a,v")), []);
  });
}

Deno.test("a file that is renamed during its first upload leaves no object under its old name", async () => {
  const primary = openMemBackend({ nowMs: () => Date.now() });
  await using fixture = await openEngineFixture({ primary });
  const { context, manifest } = fixture;
  const [from, to] = [fixture.path("a,v"), fixture.path("b,v")];
  const engine = new Engine(context);
  await written(fixture, "a,v", "content");
  const original = primary.upload.bind(primary);
  primary.upload = async (request) => {
    const info = await original(request);
    await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
    await engine.renamed({
      from,
      to,
      what: "file",
      ino: null,
      writerUid: 0,
    });
    return info;
  };
  strictEqual(await upload(context, from), "changed");
  primary.upload = original;
  strictEqual(await upload(context, to), "uploaded");
  strictEqual(manifest.get(to)?.stored?.key, "b,v");
  strictEqual(await new TombstoneSweeper(context).runPass(), 1);
  strictEqual(await primary.head(objectKeyOf("a,v")), null);
  strictEqual(await evict(context, to), "evicted");
  await fixture.restorer.restore(to);
  strictEqual(await fixture.read("b,v"), "content");
});

for (const successor of ["a directory", "a symbolic link", "another file"] as const) {
  Deno.test(`a file that ${successor} takes the place of during its upload is never clean with its bytes`, async () => {
    await using fixture = await openEngineFixture();
    const { context, manifest, primary } = fixture;
    const path = fixture.path("a,v");
    await written(fixture, "a,v", "content");
    const original = primary.upload.bind(primary);
    primary.upload = async (request) => {
      await Deno.remove(`${fixture.root}/a,v`);
      if (successor === "a directory") await Deno.mkdir(`${fixture.root}/a,v`);
      else if (successor === "a symbolic link") {
        await Deno.symlink("/etc/passwd", `${fixture.root}/a,v`);
      } else await fixture.write("a,v", "CONTENT");
      return await original(request);
    };
    strictEqual(await upload(context, path), "changed");
    primary.upload = original;
    if (successor === "another file") {
      strictEqual(await upload(context, path), "uploaded");
      strictEqual(await evict(context, path), "evicted");
      await fixture.restorer.restore(path);
      strictEqual(await fixture.read("a,v"), "CONTENT");
    } else {strictEqual(
        manifest.get(path),
        null,
        "what was written is nowhere: lost, told",
      );}
  });
}

Deno.test("a file that is deleted while it is restored is gone, and one deleted while it is evicted too", async () => {
  await using fixture = await openEngineFixture();
  const { context, primary, manifest } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "content");
  const download = primary.download.bind(primary);
  primary.download = async (request) => {
    const result = await download(request);
    await Deno.remove(`${fixture.root}/a,v`);
    await deleteFile(context, path);
    return result;
  };
  // Its marker's inode may be another one's by now: the exchange is not even tried.
  const bring = fixture.posix.bring.bind(fixture.posix);
  fixture.posix.bring = () => Promise.reject(new Error("it was given its name"));
  await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
  fixture.posix.bring = bring;
  primary.download = download;
  strictEqual(fixture.posix.lstat(bytePathOf(`${fixture.root}/a,v`)), null);
  strictEqual(manifest.tombstonesOf(path).length, 1);

  await written(fixture, "b,v", "content");
  strictEqual(await upload(context, fixture.path("b,v")), "uploaded");
  const head = primary.head.bind(primary);
  primary.head = async (key) => {
    await Deno.remove(`${fixture.root}/b,v`);
    await deleteFile(context, fixture.path("b,v"));
    primary.head = head;
    return await head(key);
  };
  notStrictEqual(await evict(context, fixture.path("b,v")), "evicted");
  strictEqual(fixture.posix.lstat(bytePathOf(`${fixture.root}/b,v`)), null);
  strictEqual(manifest.get(fixture.path("b,v")), null);
});

/** `act` happens while the restored file is flushed, the first time only; it may change what is expected. */
function whileFlushed(
  { posix }: EngineFixture,
  act: (expect: ExpectedMarker) => Promise<ExpectedMarker>,
): void {
  const bring = posix.bring.bind(posix);
  posix.bring = async (bringing) => {
    posix.bring = bring;
    return await bring({ ...bringing, expect: await act(bringing.expect!) });
  };
}

Deno.test("a restore does not take another file's marker that has the number of its own since", async () => {
  await using fixture = await openEngineFixture();
  const { root, context, manifest, posix } = fixture;
  const [a, c] = [fixture.path("a,v"), fixture.path("c,v")];
  await evicted(fixture, "a,v", "of a");
  await written(fixture, "c,v", "of c");
  strictEqual(await upload(context, c), "uploaded");
  whileFlushed(fixture, async (expect) => {
    await Deno.remove(`${root}/a,v`);
    strictEqual(await deleteFile(context, a), "deleted");
    strictEqual(await evict(context, c), "evicted");
    await Deno.rename(`${root}/c,v`, `${root}/a,v`);
    const { ino } = posix.lstat(bytePathOf(`${root}/a,v`))!;
    await new Engine(context).renamed({
      from: c,
      to: a,
      what: "file",
      ino,
      writerUid: 0,
    });
    // As if the number, which is free again, had been given to it.
    return { ...expect, ino };
  });
  await fixture.restorer.restore(a);
  strictEqual(await fixture.read("a,v"), "of c");
  strictEqual(manifest.get(a)?.stored?.key, "c,v");
  strictEqual(manifest.get(c), null);
  deepStrictEqual(manifest.tombstonesOf(a).map(({ stored }) => stored.key), ["a,v"]);
});

Deno.test("a marker that is touched while its file is flushed does not fail the restore", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix } = fixture;
  await evicted(fixture, "a,v", "content");
  const at = bytePathOf(`${root}/a,v`);
  whileFlushed(fixture, (expect) => {
    posix.chmod(at, 0o600);
    return Promise.resolve(expect);
  });
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content");
  strictEqual(posix.lstat(at)?.mode, 0o600);

  await evicted(fixture, "a,v", "content two");
  whileFlushed(fixture, (expect) => {
    // With its atime its size is lost.
    posix.setTimes(at, { atimeNs: 1_000_000_000n, mtimeNs: 2_000_000_000n });
    return Promise.resolve(expect);
  });
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content two");
  strictEqual(posix.lstat(at)?.mtimeNs, 2_000_000_000n);
});

Deno.test("a file that is written again after its DELETE is a new one, and its old version goes after the grace", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "one");
  await Deno.remove(`${fixture.root}/a,v`);
  await deleteFile(context, path);
  await evicted(fixture, "a,v", "two");
  await new TombstoneSweeper(context).runPass();
  deepStrictEqual(manifest.tombstonesOf(path), []);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "two");
});

Deno.test("a hard link to a marker is told as a fault, never as absent, and the file itself opens", async () => {
  await using fixture = await openEngineFixture();
  await evicted(fixture, "a,v", "content");
  const link = bytePathOf(`${fixture.root}/b,v`);
  fixture.posix.link(bytePathOf(`${fixture.root}/a,v`), link);
  await rejects(fixture.restorer.restore(fixture.path("b,v")), { fault: "CORRUPT" });
  await fixture.restorer.restore(fixture.path("a,v"));
  strictEqual(await fixture.read("a,v"), "content");
  strictEqual(fixture.posix.lstat(link)?.kind, "socket");
});

Deno.test("a file that is read between its unlink and its DELETE does not come back", async () => {
  await using fixture = await openEngineFixture();
  const { context, restorer, root } = fixture;
  const engine = new Engine(context);
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "one");
  fixture.posix.unlink(bytePathOf(`${root}/a,v`));
  engine.gone(path);
  const restored = restorer.restore(path);
  strictEqual(await engine.delete(path, { uid: 0, gid: 0 }), "deleted");
  await rejects(restored, { fault: "NOTFOUND" });
  strictEqual(fixture.posix.lstat(bytePathOf(`${root}/a,v`)), null);
});
