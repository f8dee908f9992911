import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { metadataOf, sourceOf } from "../../tests/conformance/test_bytes.ts";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf, objectKeyOf } from "../core/names.ts";
import type { createMemoryLogger } from "../obs/logger.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { Engine } from "./engine.ts";
import { type EngineContext, localStatOf } from "./engine_context.ts";
import { evict, putMarkerInPlace } from "./evict.ts";
import { expireBorrowed } from "./expire_borrowed.ts";
import { observe, REPORTED, SCAN } from "./observe.ts";
import { RecallBudget } from "./recall_budget.ts";
import { Restorer } from "./restore.ts";
import { SpaceLedger } from "./space.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const BORROWING = { storeLookupOnMiss: true, borrowedTtlSecs: 60 };

interface Borrower extends AsyncDisposable {
  readonly fixture: EngineFixture;
  readonly owner: StorageBackend;
}

async function openBorrower(settings: object = {}): Promise<Borrower> {
  const owner = openMemBackend();
  const fixture = await openEngineFixture({
    settings: { ...BORROWING, ...settings },
    readStores: [openMemBackend(), owner],
  });
  return { fixture, owner, [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose]() };
}

/** As the owner uploads it: the version's own key, and when the file was written. */
async function put(
  owner: StorageBackend,
  key: string,
  content: string,
  writtenS: number,
): Promise<void> {
  const bytes = new TextEncoder().encode(content);
  await owner.upload({
    key: objectKeyOf(key),
    source: sourceOf(bytes),
    metadata: {
      ...metadataOf(bytes),
      mtimeNs: BigInt(writtenS) * 1_000_000_000n,
      mode: 0o444,
    },
  });
}

async function read({ fixture }: Borrower, name: string): Promise<string> {
  await fixture.restorer.restore(fixture.path(name));
  return await fixture.read(name);
}

async function keysOf(store: StorageBackend): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys.sort();
}

const VERSION = "a,v.p4cv-0123456789abcdef";

Deno.test("a borrowed file is the version that its owner wrote last, asked again at each restore", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "1.1", 100);
  strictEqual(await read(borrower, "a,v"), "1.1");
  strictEqual(fixture.manifest.get(path)?.flags.borrowed, true);
  strictEqual(await evict(fixture.context, path), "evicted");

  await put(owner, VERSION, "1.1 1.2", 200);
  strictEqual(await read(borrower, "a,v"), "1.1 1.2");
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.mtimeNs, 200_000_000_000n);
  // The version before is swept by its owner some day; that changes nothing here.
  await owner.delete({ key: objectKeyOf("a,v") });
  strictEqual(await evict(fixture.context, path), "evicted");
  strictEqual(await read(borrower, "a,v"), "1.1 1.2");
  deepStrictEqual(await keysOf(fixture.primary), [], "nothing borrowed is uploaded");
});

Deno.test("a borrowed file that its owner does not have any more fails loudly, and a local one stays", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "1.1", 100);
  await read(borrower, "a,v");
  await owner.delete({ key: objectKeyOf("a,v") });
  strictEqual(await evict(fixture.context, path), "unconfirmed");
  strictEqual(fixture.manifest.get(path)?.state, "clean", "it is not ours to upload");
  await put(owner, "a,v", "1.1", 100);
  strictEqual(await evict(fixture.context, path), "evicted");
  await owner.delete({ key: objectKeyOf("a,v") });
  await rejects(fixture.restorer.restore(path), { fault: "CORRUPT" });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
});

Deno.test("a resident borrowed archive expires, a pinned one, a written one and one that cannot change do not", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const names = ["a,v", "pinned,v", "mine,v", "b,d/1.1", "gone,v"];
  for (const name of names) {
    await put(owner, name, name, 100);
    await read(borrower, name);
  }
  const { context, manifest } = fixture;
  await manifest.apply(fixture.path("pinned,v"), "any", {
    kind: "flagged",
    flags: { pinned: true },
  });
  await fixture.write("mine,v", "written here");
  await observe(context, fixture.path("mine,v"), REPORTED);
  await owner.delete({ key: objectKeyOf("gone,v") });
  strictEqual(await expireBorrowed(context), 0, "they are younger than their time");
  const later = {
    ...context,
    clock: { ...context.clock, nowMs: () => Date.now() + 120_000 },
  };
  strictEqual(await expireBorrowed(later), 1);
  const resident = names.filter((name) => manifest.get(fixture.path(name))!.resident);
  deepStrictEqual(resident, ["pinned,v", "mine,v", "b,d/1.1", "gone,v"]);
});

Deno.test("a borrowed archive of a clock that was wrong expires once the clock is right", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "1.1", 100);
  const yearMs = 365 * 86_400_000;
  const ahead = {
    ...context,
    clock: { ...context.clock, nowMs: () => Date.now() + yearMs },
  };
  const parts = { context: ahead, space: new SpaceLedger(ahead, () => {}) };
  const restorer = new Restorer({ ...parts, recall: new RecallBudget(ahead) }, () => {});
  await restorer.restore(path);
  strictEqual(await expireBorrowed(ahead), 0);
  strictEqual(manifest.get(path)!.resident, true);
  strictEqual(await expireBorrowed(context), 1);
  strictEqual(manifest.get(path)!.resident, false);
});

/** The engine's own context, when every borrowed file is older than its time. */
function whenExpired({ fixture: { context } }: Borrower): EngineContext {
  return { ...context, clock: { ...context.clock, nowMs: () => Date.now() + 120_000 } };
}

Deno.test("a borrowed archive in conflict stays, however often it is let go and whoever lets it", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const { context, manifest, root } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "theirs", 100);
  await read(borrower, "a,v");
  await Deno.chmod(`${root}/a,v`, 0o644);
  await Deno.writeTextFile(`${root}/a,v`, "mine!!");
  await Deno.utime(`${root}/a,v`, 100, 100);
  const scan = { ...SCAN, mayHash: () => true };
  strictEqual(await observe(context, path, scan), "conflict");
  strictEqual(await evict(context, path), "not-evictable");
  for (let pass = 0; pass < 3; pass++) {
    strictEqual(await expireBorrowed(whenExpired(borrower)), 0);
    strictEqual(await fixture.read("a,v"), "mine!!");
  }
  strictEqual(
    await putMarkerInPlace(context, path, manifest.get(path)!),
    "not-evictable",
  );
  strictEqual(await fixture.read("a,v"), "mine!!");
});

Deno.test("a borrowed archive whose hash nobody knows does not expire", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const { context, manifest, posix, root } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "theirs", 100);
  await read(borrower, "a,v");
  const { stored } = manifest.get(path)!;
  await manifest.apply(path, "any", {
    kind: "adopted",
    stored: { ...stored!, hash: null },
    stat: localStatOf(posix.lstat(bytePathOf(`${root}/a,v`))!),
    resident: true,
    flags: { borrowed: true },
    nowS: 0,
  });
  strictEqual(await expireBorrowed(whenExpired(borrower)), 0);
  strictEqual(await fixture.read("a,v"), "theirs");
  strictEqual(await evict(context, path), "not-evictable");
});

Deno.test("a borrowed archive that is pinned while its owner is asked does not expire", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const { manifest } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "theirs", 100);
  await read(borrower, "a,v");
  const head = owner.head.bind(owner);
  owner.head = async (...args): Promise<ObjectInfo | null> => {
    await manifest.apply(path, "any", { kind: "flagged", flags: { pinned: true } });
    return await head(...args);
  };
  strictEqual(await expireBorrowed(whenExpired(borrower)), 0);
  strictEqual(await fixture.read("a,v"), "theirs");
});

Deno.test("a borrowed file stays while its owner shows an older version only, and goes for a newer one", async () => {
  await using borrower = await openBorrower();
  const { fixture, owner } = borrower;
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "1.1", 100);
  await put(owner, VERSION, "1.1 1.2", 200);
  strictEqual(await read(borrower, "a,v"), "1.1 1.2");
  // Its store is that of a snapshot now, or of a replica that lags behind.
  await owner.delete({ key: objectKeyOf(VERSION) });
  strictEqual(await evict(context, path), "unconfirmed");
  strictEqual(await expireBorrowed(whenExpired(borrower)), 0);
  strictEqual(await fixture.read("a,v"), "1.1 1.2");
  strictEqual(manifest.get(path)?.state, "clean", "it is not ours to upload");
  const { records } = context.log as ReturnType<typeof createMemoryLogger>;
  const warning =
    "no prefix of read_prefixes has this version of a borrowed file, or a " +
    "newer one; it stays";
  strictEqual(records.filter(({ message }) => message === warning).length, 2);

  await put(owner, "a,v.p4cv-fedcba9876543210", "1.1 1.2 1.3", 300);
  strictEqual(await expireBorrowed(whenExpired(borrower)), 1);
  strictEqual(await read(borrower, "a,v"), "1.1 1.2 1.3");
});

Deno.test("a borrowed file whose object has no hash in its metadata goes only for the same bytes", async () => {
  await using borrower = await openBorrower({ enforceContentHash: false });
  const { fixture, owner } = borrower;
  const { context } = fixture;
  const path = fixture.path("a,v");
  const stage = async (content: string): Promise<void> => {
    const source = sourceOf(new TextEncoder().encode(content));
    const metadata = { ...metadataOf(new Uint8Array()), hash: null, mtimeNs: 100n };
    const key = objectKeyOf("a,v");
    await owner.upload({ key, source, metadata, ifAbsent: false });
  };
  await stage("staged");
  await read(borrower, "a,v");
  strictEqual(await evict(context, path), "evicted");
  await read(borrower, "a,v");
  await stage("other!");
  strictEqual(await evict(context, path), "unconfirmed");
  strictEqual(await fixture.read("a,v"), "staged");
});

Deno.test("what is written over a borrowed file is ours, and its owner's object is left alone", async () => {
  await using borrower = await openBorrower({ deleteGraceSecs: 0 });
  const { fixture, owner } = borrower;
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await put(owner, "a,v", "1.1", 100);
  await read(borrower, "a,v");
  await fixture.write("a,v", "1.1 mine");
  await observe(context, path, REPORTED);
  strictEqual(await upload(context, path), "uploaded");
  strictEqual(manifest.get(path)?.flags.borrowed, false);
  await put(owner, VERSION, "1.1 theirs", 10 ** 10);
  strictEqual(await evict(context, path), "evicted");
  strictEqual(await read(borrower, "a,v"), "1.1 mine");
  await new TombstoneSweeper(context).runPass();
  deepStrictEqual(await keysOf(owner), ["a,v", VERSION]);
});

for (const from of ["a read prefix", "the secondary"] as const) {
  Deno.test(`a deleted file stays deleted while ${from} has it, also after the grace, and undelete brings it back before`, async () => {
    const other = openMemBackend();
    await using fixture = await openEngineFixture({
      settings: BORROWING,
      ...(from === "the secondary" ? { secondary: other } : { readStores: [other] }),
    });
    const { context, manifest, restorer } = fixture;
    for (const name of ["a,v", "own,v", "new,v"]) await put(other, name, name, 100);
    const path = fixture.path("a,v");
    await restorer.restore(path);
    await fixture.write("own,v", "uploaded here");
    await observe(context, fixture.path("own,v"), REPORTED);
    strictEqual(await upload(context, fixture.path("own,v")), "uploaded");
    // Deleted before anything of it was stored here.
    await fixture.write("new,v", "never uploaded");
    await observe(context, fixture.path("new,v"), REPORTED);
    for (const name of ["a,v", "own,v", "new,v"]) {
      await Deno.remove(`${fixture.root}/${name}`);
      strictEqual(await deleteFile(context, fixture.path(name)), "deleted");
    }
    for (let pass = 0; pass < 3; pass++) await new TombstoneSweeper(context).runPass();
    for (const name of ["a,v", "own,v", "new,v"]) {
      await rejects(restorer.restore(fixture.path(name)), { fault: "NOTFOUND" });
    }
    deepStrictEqual(await keysOf(fixture.primary), []);
    deepStrictEqual(await keysOf(other), ["a,v", "new,v", "own,v"]);
    ok((await undeleteFile(context, path, false)).isDone);
    await restorer.restore(path);
    strictEqual(await fixture.read("a,v"), "a,v");
    strictEqual(manifest.get(path)?.flags.borrowed, from === "a read prefix");
  });
}

for (const from of ["a read prefix", "the secondary"] as const) {
  Deno.test(`a name that its file left stays empty while ${from} has it, whatever became of the file`, async () => {
    const other = openMemBackend();
    await using fixture = await openEngineFixture({
      settings: BORROWING,
      ...(from === "the secondary" ? { secondary: other } : { readStores: [other] }),
    });
    const { context, manifest, restorer } = fixture;
    const engine = new Engine(context);
    const names = ["a,v", "d/b,v", "c,v", "new,v"];
    for (const name of names) await put(other, name, `old ${name}`, 100);
    const write = async (name: string, isUploaded = true): Promise<void> => {
      await fixture.write(name, `written as ${name}`);
      await observe(context, fixture.path(name), REPORTED);
      if (isUploaded) strictEqual(await upload(context, fixture.path(name)), "uploaded");
    };
    const rename = async (
      name: string,
      next: string,
      what: "file" | "directory" = "file",
    ): Promise<void> => {
      await Deno.rename(`${fixture.root}/${name}`, `${fixture.root}/${next}`);
      const [old, now] = [fixture.path(name), fixture.path(next)];
      await engine.renamed({ from: old, to: now, what, ino: null, writerUid: 0 });
    };
    for (const name of ["a,v", "d/b,v", "c,v"]) await write(name);
    await write("new,v", false);
    await rename("a,v", "to,v");
    await rename("d", "e", "directory");
    await rename("new,v", "newer,v");
    for (const name of ["to,v", "e/b,v", "newer,v"]) await write(name);
    // The row of c,v is of another name's object now, and leaves again.
    await rename("e/b,v", "c,v");
    await rename("c,v", "last,v");
    for (let pass = 0; pass < 3; pass++) await new TombstoneSweeper(context).runPass();
    for (const name of [...names, "e/b,v"]) {
      await rejects(restorer.restore(fixture.path(name)), { fault: "NOTFOUND" });
    }
    deepStrictEqual(await keysOf(other), [...names].sort());
    strictEqual(await fixture.read("to,v"), "written as to,v");
    // Back under its first name, it is the file that it was.
    await rename("to,v", "a,v");
    strictEqual(await evict(context, fixture.path("a,v")), "evicted");
    await restorer.restore(fixture.path("a,v"));
    strictEqual(await fixture.read("a,v"), "written as to,v");
    deepStrictEqual(manifest.counters(), (await manifest.recount()).counted);
  });
}
