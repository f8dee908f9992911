/**
 * What an operator asks for by hand: pins, evictions, undeletes, a drain.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  NONE_UNPROVEN,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import type { DepotPath } from "../core/names.ts";
import { deleteFile, TombstoneSweeper } from "./delete.ts";
import { drain } from "./drain.ts";
import { evict } from "./evict.ts";
import { evictSelected, type HandEvictionReport } from "./evict_by_hand.ts";
import { observe, REPORTED } from "./observe.ts";
import { type PinReport, pinSelected } from "./pin.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const signal = new AbortController().signal;

async function stored(
  fixture: EngineFixture,
  path: string,
  content: string,
): Promise<DepotPath> {
  await fixture.write(path, content);
  await observe(fixture.context, fixture.path(path), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(path)), "uploaded");
  return fixture.path(path);
}

/** The same engine when `secs` have passed. */
function later(fixture: EngineFixture, secs: number): EngineFixture["context"] {
  const { clock } = fixture.context;
  return {
    ...fixture.context,
    clock: { ...clock, nowMs: () => clock.nowMs() + secs * 1000 },
  };
}

function evictNow(
  context: EngineFixture["context"],
  selection: string,
  dryRun = false,
): Promise<HandEvictionReport> {
  return evictSelected(context, { selection, dryRun, onProgress: () => {}, signal });
}

function pin(
  fixture: EngineFixture,
  selection: string,
  pinned: boolean,
): Promise<PinReport> {
  return pinSelected(fixture.context, { selection, pinned, dryRun: false, signal });
}

Deno.test("evictSelected() takes what the selection names and no more, and never a file below the floor of 5 s", async () => {
  await using fixture = await openEngineFixture();
  for (const path of ["d/a,v", "d/b,v", "dd/a,v"]) await stored(fixture, path, "text");
  const young = await evictNow(fixture.context, "d");
  deepStrictEqual([young.files, young.evictedFiles, young.kept.young], [2, 0, 2]);
  const report = await evictNow(later(fixture, 7), "d");
  deepStrictEqual([report.files, report.evictedFiles, report.evictedBytes], [2, 2, 8]);
  ok(fixture.manifest.get(fixture.path("dd/a,v"))!.resident);
  const again = await evictNow(later(fixture, 7), "d/a,v");
  deepStrictEqual([again.files, again.alreadyFiles, again.evictedFiles], [1, 1, 0]);
});

Deno.test("evictSelected() keeps what is dirty, pinned or undecided, and counts why", async () => {
  await using fixture = await openEngineFixture();
  await stored(fixture, "d/pinned,v", "text");
  await stored(fixture, "d/undecided,v", "text");
  await stored(fixture, "d/gone-from-store,v", "text");
  await fixture.write("d/dirty,v", "text");
  await observe(fixture.context, fixture.path("d/dirty,v"), REPORTED);
  await pin(fixture, "d/pinned,v", true);
  await fixture.manifest.apply(fixture.path("d/undecided,v"), "any", {
    kind: "flagged",
    flags: { conflict: true },
  });
  const lost = fixture.manifest.get(fixture.path("d/gone-from-store,v"))!.stored!;
  await fixture.primary.delete({ key: lost.key });
  const { kept, evictedFiles } = await evictNow(later(fixture, 7), "");
  strictEqual(evictedFiles, 0);
  const { dirty, undecided, pinned, unconfirmed } = kept;
  deepStrictEqual({ dirty, undecided, pinned, unconfirmed }, {
    dirty: 1,
    undecided: 1,
    pinned: 1,
    unconfirmed: 1,
  });
});

Deno.test("evictSelected() as a dry run says what would go and leaves it", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "d/a,v", "text");
  const report = await evictNow(later(fixture, 7), "", true);
  deepStrictEqual([report.evictedFiles, report.evictedBytes], [1, 4]);
  ok(fixture.manifest.get(path)!.resident);
});

Deno.test("pinSelected() pins a directory's files, which evict() then keeps until they are unpinned", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "d/a,v", "text");
  const evictedPath = await stored(fixture, "d/b,v", "text");
  strictEqual(await evict(fixture.context, evictedPath), "evicted");
  deepStrictEqual(await pin(fixture, "d", true), {
    files: 2,
    changed: 2,
    evicted: 1,
    bytes: 8,
  });
  strictEqual((await pin(fixture, "d", true)).changed, 0);
  strictEqual(await evict(fixture.context, path), "not-evictable");
  strictEqual((await pin(fixture, "", false)).changed, 2);
  strictEqual(await evict(fixture.context, path), "evicted");
});

Deno.test("a file of a time that a restore could not give back stays, and is told apart", async () => {
  await using fixture = await openEngineFixture();
  // A second after the last one that 64 bits of nanoseconds reach, and that one.
  const farS = 9_223_372_037;
  await fixture.write("far,v", "text");
  await fixture.write("near,v", "text");
  await Deno.utime(`${fixture.root}/far,v`, farS, farS);
  await Deno.utime(`${fixture.root}/near,v`, farS - 1, farS - 1);
  const { mtime } = await Deno.stat(`${fixture.root}/far,v`);
  if (mtime?.getTime() !== farS * 1000) {
    // deno-lint-ignore no-console -- a skip says why
    return console.log("skipped: this file system has no times after 2262");
  }
  for (const name of ["far,v", "near,v"]) {
    await observe(fixture.context, fixture.path(name), REPORTED);
    strictEqual(await upload(fixture.context, fixture.path(name)), "uploaded");
  }
  strictEqual(await evict(fixture.context, fixture.path("far,v")), "far-time");
  strictEqual(await evict(fixture.context, fixture.path("near,v")), "evicted");
  await fixture.restorer.restore(fixture.path("near,v"));
  const restored = await Deno.stat(`${fixture.root}/near,v`);
  strictEqual(restored.mtime?.getTime(), (farS - 1) * 1000);
  const { files, kept } = await evictSelected(fixture.context, {
    selection: "far,v",
    dryRun: false,
    onProgress: () => {},
    signal: fixture.context.signal,
  });
  deepStrictEqual([files, kept.farTime], [1, 1]);
});

Deno.test("undeleteFile() brings a deleted file back with its content while its object is kept", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "d/a,v", "precious");
  await Deno.remove(`${fixture.root}/d/a,v`);
  await deleteFile(fixture.context, path);
  deepStrictEqual(await undeleteFile(fixture.context, path, true), { isDone: true });
  strictEqual(fixture.manifest.get(path), null);
  deepStrictEqual(await undeleteFile(fixture.context, path, false), { isDone: true });
  ok((await Deno.lstat(`${fixture.root}/d/a,v`)).isSocket);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("d/a,v"), "precious");
  // Nothing is left that a later pass would remove.
  strictEqual(await new TombstoneSweeper(fixture.context).runPass(), 0);
  deepStrictEqual(await undeleteFile(fixture.context, path, false), {
    isDone: false,
    why: "it is not deleted",
  });
});

Deno.test("undeleteFile() refuses when something new has the name, and after the grace", async () => {
  await using fixture = await openEngineFixture();
  const path = await stored(fixture, "d/a,v", "precious");
  await Deno.remove(`${fixture.root}/d/a,v`);
  await deleteFile(fixture.context, path);
  await fixture.write("d/a,v", "new");
  const occupied = await undeleteFile(fixture.context, path, false);
  ok(!occupied.isDone && occupied.why.startsWith("something new has its name"));
  strictEqual(await fixture.read("d/a,v"), "new");
  await Deno.remove(`${fixture.root}/d/a,v`);
  strictEqual(await new TombstoneSweeper(fixture.context).runPass(), 1);
  const late = await undeleteFile(fixture.context, path, false);
  ok(!late.isDone && late.why.startsWith("nothing is kept of it"));
});

Deno.test("drain() waits for what was dirty, and ends early when only a person can go on", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const options = { wait: true, onProgress: (): void => {}, signal };
  strictEqual((await drain(context, options, NONE_UNPROVEN)).isDrained, true);
  await fixture.write("d/a,v", "text");
  await observe(context, fixture.path("d/a,v"), REPORTED);
  strictEqual(
    (await drain(context, { ...options, wait: false }, NONE_UNPROVEN)).isDrained,
    false,
  );
  const draining = drain(context, {
    ...options,
    onProgress: () => void upload(context, fixture.path("d/a,v")),
  }, NONE_UNPROVEN);
  deepStrictEqual(await draining, {
    isDrained: true,
    dirtyFiles: 0,
    dirtyBytes: 0,
    retryingFiles: 0,
    undecidedFiles: 0,
    unprovenFiles: 0,
  });
  await fixture.write("d/a,v", "by somebody");
  await observe(context, fixture.path("d/a,v"), REPORTED);
  await manifest.apply(fixture.path("d/a,v"), "any", {
    kind: "flagged",
    flags: { foreign: true },
  });
  const { isDrained, dirtyFiles, undecidedFiles } = await drain(
    context,
    options,
    NONE_UNPROVEN,
  );
  deepStrictEqual([isDrained, dirtyFiles, undecidedFiles], [false, 1, 1]);
});

Deno.test("drain() is not done while a file is in conflict that is not dirty", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = await stored(fixture, "d/a,v", "text");
  await manifest.apply(path, "any", { kind: "flagged", flags: { conflict: true } });
  const onProgress = (): void => {};
  for (const wait of [false, true]) {
    const state = await drain(context, { wait, onProgress, signal }, NONE_UNPROVEN);
    deepStrictEqual(
      [state.isDrained, state.dirtyFiles, state.undecidedFiles],
      [false, 0, 1],
    );
  }
});
