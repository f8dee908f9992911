/**
 * Markers that were put back: their rows know no inode, so that only what was told says whether the
 * name is empty to `p4d`.
 *
 * @module
 */

import { strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { DepotPath } from "../core/names.ts";
import { NO_INODE } from "../manifest/transitions.ts";
import { deleteFile } from "./delete.ts";
import { Engine } from "./engine.ts";
import type { EngineContext } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED, SCAN } from "./observe.ts";
import { scanDepot } from "./scan.ts";
import { upload } from "./upload.ts";

const FILE = { what: "file", writerUid: 0 } as const;
const ROOT = { uid: 0, gid: 0 };

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

/** Evicted, and its marker was lost and put back. */
async function putBack(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<DepotPath> {
  const path = await stored(fixture, name, content);
  strictEqual(await evict(fixture.context, path), "evicted");
  await Deno.remove(`${fixture.root}/${name}`);
  await scanDepot(fixture.context, SCAN);
  strictEqual(fixture.manifest.get(path)?.local.ino, NO_INODE);
  return path;
}

/** What a DELETE that was written down at `ts` means (src/daemon/failed_delete_record.ts). */
function until(ts: number): { isMeant(entry: { local: { ctimeNs: bigint } }): boolean } {
  return { isMeant: ({ local }) => local.ctimeNs / 1_000_000n <= BigInt(ts) };
}

/** Told by the kernel one after the other, when somebody waits for what was done until now. */
function withEvents(
  { context }: EngineFixture,
  events: (() => unknown)[],
): EngineContext {
  const eventsUntilNow = async (): Promise<boolean> => {
    for (let it = events.shift(); it !== undefined; it = events.shift()) await it();
    return true;
  };
  return { ...context, eventsUntilNow };
}

Deno.test("a late DELETE takes no put-back marker that was renamed to the name since", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest, context } = fixture;
  const engine = new Engine(context);
  const a = await stored(fixture, "a,v", "of a");
  const b = await putBack(fixture, "b,v", "of b, longer");
  await Deno.remove(`${root}/a,v`);
  engine.gone(a);
  const deletedMs = Date.now();
  await Deno.rename(`${root}/b,v`, `${root}/a,v`);
  const { ino } = posix.lstat(`${root}/a,v`)!;
  await engine.renamed({ from: b, to: a, ino, ...FILE });
  strictEqual(manifest.get(a)?.local.ino, ino);
  strictEqual(await deleteFile(context, a, until(deletedMs)), "kept");
  await fixture.restorer.restore(a);
  strictEqual(await fixture.read("a,v"), "of b, longer");
});

Deno.test("nor one that came with its directory", async () => {
  await using fixture = await openEngineFixture();
  const { root, context } = fixture;
  const engine = new Engine(context);
  const a = await stored(fixture, "x/a,v", "of x");
  await putBack(fixture, "y/a,v", "of y, longer");
  await Deno.remove(`${root}/x/a,v`);
  engine.gone(a);
  const deletedMs = Date.now();
  await Deno.remove(`${root}/x`);
  await Deno.rename(`${root}/y`, `${root}/x`);
  await engine.renamed({
    from: fixture.path("y"),
    to: fixture.path("x"),
    what: "directory",
    ino: null,
    writerUid: 0,
    toldMs: deletedMs + 1,
  });
  strictEqual(await deleteFile(context, a, until(deletedMs)), "kept");
  await fixture.restorer.restore(a);
  strictEqual(await fixture.read("x/a,v"), "of y, longer");
});

Deno.test("nor does a DELETE that waits while one is renamed to the name", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix } = fixture;
  const events: (() => unknown)[] = [];
  const engine = new Engine(withEvents(fixture, events));
  const a = await stored(fixture, "a,v", "of a");
  const b = await putBack(fixture, "b,v", "of b, longer");
  await Deno.remove(`${root}/a,v`);
  await Deno.rename(`${root}/b,v`, `${root}/a,v`);
  const { ino } = posix.lstat(`${root}/a,v`)!;
  events.push(
    () => engine.gone(a),
    () => engine.renamed({ from: b, to: a, ino, ...FILE }),
  );
  strictEqual(await engine.delete(a, ROOT), "kept");
  await fixture.restorer.restore(a);
  strictEqual(await fixture.read("a,v"), "of b, longer");
});

Deno.test("a DELETE finds a put-back marker that moved on with its directory", async () => {
  await using fixture = await openEngineFixture();
  const { root, manifest, context } = fixture;
  const engine = new Engine(context);
  const before = await putBack(fixture, "d/a,v", "deleted");
  await Deno.remove(`${root}/d/a,v`);
  engine.gone(before);
  const deletedMs = Date.now();
  await Deno.rename(`${root}/d`, `${root}/e`);
  await engine.renamed({
    from: fixture.path("d"),
    to: fixture.path("e"),
    what: "directory",
    ino: null,
    writerUid: 0,
    toldMs: deletedMs + 1,
  });
  strictEqual(await deleteFile(context, before, until(deletedMs)), "deleted");
  strictEqual(manifest.get(fixture.path("e/a,v")), null);
});

Deno.test("files that were undeleted are told apart by more than the numbers of before", async () => {
  await using fixture = await openEngineFixture();
  const { root, posix, manifest, context } = fixture;
  const engine = new Engine(context);
  const [a, c] = [
    await stored(fixture, "a,v", "of a!"),
    await stored(fixture, "c,v", "of c!"),
  ];
  for (const path of [a, c]) {
    await Deno.remove(`${root}/${path}`);
    strictEqual(await engine.delete(path, ROOT), "deleted");
  }
  for (const path of [a, c]) {
    strictEqual((await engine.undelete(path, false)).isDone, true);
    strictEqual(manifest.get(path)?.local.ino, NO_INODE);
  }
  await Deno.rename(`${root}/a,v`, `${root}/c,v`);
  const { ino } = posix.lstat(`${root}/c,v`)!;
  await engine.renamed({ from: a, to: c, ino, ...FILE });
  await fixture.restorer.restore(c);
  strictEqual(await fixture.read("c,v"), "of a!");
});

for (const first of ["the file", "the marker"]) {
  Deno.test(`a file and a put-back marker trade places by one exchange (told first: ${first})`, async () => {
    await using fixture = await openEngineFixture();
    const { root, posix, manifest, context } = fixture;
    const engine = new Engine(context);
    const a = await stored(fixture, "a,v", "of a");
    const b = await putBack(fixture, "b,v", "of b, longer");
    const [inoOfA, inoOfB] = [a, b].map((path) => posix.lstat(`${root}/${path}`)!.ino);
    posix.exchange(`${root}/a,v`, `${root}/b,v`);
    const renames = [
      { from: a, to: b, ino: inoOfA!, ...FILE },
      { from: b, to: a, ino: inoOfB!, ...FILE },
    ];
    if (first === "the marker") renames.reverse();
    for (const rename of renames) await engine.renamed(rename);
    await fixture.restorer.restore(a);
    strictEqual(await fixture.read("a,v"), "of b, longer");
    strictEqual(manifest.get(b)?.stored?.sizeBytes, "of a".length);
    strictEqual(manifest.tombstonesOf(b).length, 0);
  });
}
