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
import { bytePathOf, objectKeyOf } from "../core/names.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { Engine } from "./engine.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

interface Depot {
  readonly fixture: EngineFixture;
  readonly engine: Engine;
}

async function opened(primary: StorageBackend): Promise<Depot & AsyncDisposable> {
  const settings = { storeLookupOnMiss: true, slowRetrySecs: 0 };
  const fixture = await openEngineFixture({ primary, settings });
  return {
    fixture,
    engine: new Engine(fixture.context),
    [Symbol.asyncDispose]: () => fixture[Symbol.asyncDispose](),
  };
}

/** A file whose object is in the store, under its name, and nobody knows it. */
async function lose({ fixture }: Depot, name: string, content: string): Promise<void> {
  const { context, primary } = fixture;
  const key = objectKeyOf(name);
  await fixture.write(name, content);
  strictEqual(await observe(context, fixture.path(name), REPORTED), "written");
  const original = primary.upload;
  primary.upload = async (request) => {
    await original.call(primary, request);
    throw new StorageError("unavailable", { operation: "upload", key, detail: "lost" });
  };
  try {
    strictEqual(await upload(context, fixture.path(name)), "failed");
  } finally {
    primary.upload = original;
  }
  notStrictEqual(await primary.head(key), null);
}

async function store({ fixture }: Depot, name: string, content: string): Promise<void> {
  await fixture.write(name, content);
  await observe(fixture.context, fixture.path(name), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
}

function inodeOf({ fixture }: Depot, name: string): bigint {
  return fixture.posix.lstat(bytePathOf(`${fixture.root}/${name}`))!.ino;
}

/** As the kernel tells it, with the inode of what was renamed. */
async function told(
  { fixture: { path }, engine }: Depot,
  what: "file" | "directory",
  [from, to]: readonly [string, string],
  ino: bigint,
): Promise<void> {
  await engine.renamed({ from: path(from), to: path(to), what, ino, writerUid: 0 });
}

async function rename(
  depot: Depot,
  what: "file" | "directory",
  from: string,
  to: string,
): Promise<void> {
  const { root } = depot.fixture;
  const ino = inodeOf(depot, from);
  await Deno.rename(`${root}/${from}`, `${root}/${to}`);
  await told(depot, what, [from, to], ino);
}

async function exchange(
  depot: Depot,
  what: "file" | "directory",
  a: string,
  b: string,
): Promise<void> {
  const { root, posix } = depot.fixture;
  const [inoA, inoB] = [inodeOf(depot, a), inodeOf(depot, b)];
  posix.exchange(bytePathOf(`${root}/${a}`), bytePathOf(`${root}/${b}`));
  await told(depot, what, [a, b], inoA);
  await told(depot, what, [b, a], inoB);
}

/** Neither an open of the name brings the lost object back, nor does the store keep it. */
async function isGone({ fixture }: Depot, name: string): Promise<void> {
  const { context, restorer, primary, manifest } = fixture;
  await rejects(restorer.restore(fixture.path(name)), { fault: "NOTFOUND" });
  await new TombstoneSweeper(context).runPass();
  strictEqual(await primary.head(objectKeyOf(name)), null);
  deepStrictEqual(manifest.tombstonesOf(fixture.path(name)), []);
  await rejects(restorer.restore(fixture.path(name)), { fault: "NOTFOUND" });
}

/** The store has the file, whatever the sweeper did. */
async function comesBack(
  { fixture }: Depot,
  name: string,
  content: string,
): Promise<void> {
  const { context, restorer, manifest } = fixture;
  const path = fixture.path(name);
  await manifest.retryNow();
  if (manifest.get(path)?.state === "dirty") {
    strictEqual(await upload(context, path), "uploaded");
  }
  await new TombstoneSweeper(context).runPass();
  strictEqual(await evict(context, path), "evicted");
  await restorer.restore(path);
  strictEqual(await fixture.read(name), content);
}

const openStore = (): StorageBackend => openMemBackend({ nowMs: () => Date.now() });

Deno.test("the object of a lost upload does not come back after its directory was renamed", async () => {
  await using depot = await opened(openStore());
  await lose(depot, "d/x,v", "content");
  await rename(depot, "directory", "d", "e");
  await isGone(depot, "d/x,v");
  await comesBack(depot, "e/x,v", "content");
});

Deno.test("the object of a lost upload does not come back after another file took its name", async () => {
  await using depot = await opened(openStore());
  const { fixture } = depot;
  await lose(depot, "b,v", "old");
  await store(depot, "a,v", "new");
  await rename(depot, "file", "a,v", "b,v");
  await comesBack(depot, "b,v", "new");
  await Deno.remove(`${fixture.root}/b,v`);
  strictEqual(await deleteFile(fixture.context, fixture.path("b,v")), "deleted");
  await isGone(depot, "b,v");
});

Deno.test("a file that takes the name of a lost upload, and is not stored itself, is stored beside it", async () => {
  await using depot = await opened(openStore());
  await lose(depot, "d/x,v", "old");
  await lose(depot, "e/x,v", "new");
  await Deno.remove(`${depot.fixture.root}/d/x,v`);
  await rename(depot, "directory", "e", "d");
  await comesBack(depot, "d/x,v", "new");
  await isGone(depot, "e/x,v");
});

for (const what of ["file", "directory"] as const) {
  Deno.test(`the object of a lost upload does not come back after its ${what} traded places with another`, async () => {
    await using depot = await opened(openStore());
    const { fixture } = depot;
    await store(depot, "d/x,v", "one");
    await lose(depot, "e/x,v", "two");
    const [a, b] = what === "file" ? ["d/x,v", "e/x,v"] : ["d", "e"];
    await exchange(depot, what, a!, b!);
    strictEqual(fixture.manifest.get(fixture.path("e/x,v"))?.stored?.key, "d/x,v");
    await comesBack(depot, "d/x,v", "two");
    await comesBack(depot, "e/x,v", "one");
    await Deno.remove(`${fixture.root}/e/x,v`);
    strictEqual(await deleteFile(fixture.context, fixture.path("e/x,v")), "deleted");
    await isGone(depot, "e/x,v");
    await comesBack(depot, "d/x,v", "two");
  });
}
