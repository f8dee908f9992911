import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { parseDepotPath } from "../core/names.ts";
import type { LocalStat, Manifest } from "./manifest.ts";
import { openMemManifest } from "./mem_manifest.ts";
import { allRetries, allRows } from "./snapshot.ts";

const STAT: LocalStat = {
  sizeBytes: 100,
  mtimeNs: 1n,
  ctimeNs: 2n,
  mode: 0o444,
  uid: 1,
  gid: 2,
  ino: 3n,
  dev: 4n,
};
const ROWS = 1_000;
const PATHS = Array.from({ length: ROWS }, (_, i) => parseDepotPath(`d/${1_000 + i},v`));

/** Rows whose uploads have failed, and are all due at one time. */
async function manifestWithRetries(): Promise<Manifest> {
  const manifest = await openMemManifest();
  await Promise.all(PATHS.map(async (path) => {
    await manifest.apply(path, "absent", { kind: "written", stat: STAT, nowS: 1 });
    await manifest.apply(path, "any", { kind: "upload-started" });
    await manifest.apply(path, "any", { kind: "upload-failed", retryAtMs: 9_000 });
  }));
  return manifest;
}

async function pathsOf(
  pages: AsyncGenerator<{ readonly path: string }[]>,
): Promise<string[]> {
  const paths: string[] = [];
  for await (const page of pages) paths.push(...page.map(({ path }) => path));
  return paths;
}

/** Pages that came in one turn, at most. */
async function pagesInATurn(pages: AsyncGenerator<unknown[]>): Promise<number> {
  let most = 0;
  let inThisTurn = 0;
  let count = 0;
  for await (const page of pages) {
    ok(page.length <= 100);
    count++;
    if (inThisTurn++ === 0) setImmediate(() => inThisTurn = 0);
    most = Math.max(most, inThisTurn);
  }
  ok(count > 1);
  return most;
}

Deno.test("a snapshot answers what was there when it was taken", async () => {
  const manifest = await manifestWithRetries();
  const snapshot = manifest.snapshot();
  const counters = manifest.counters();
  await manifest.retryNow();
  await manifest.setMeta("instance_id", "later");
  for (const path of PATHS.slice(0, 10)) {
    await manifest.apply(path, "any", { kind: "deleted", nowMs: 1, whiteout: false });
  }
  deepStrictEqual(await pathsOf(allRows(snapshot)), PATHS);
  deepStrictEqual((await pathsOf(allRetries(snapshot))).toSorted(), PATHS);
  deepStrictEqual(snapshot.counters(), counters);
  strictEqual(snapshot.meta("instance_id"), null);
  deepStrictEqual(snapshot.format(), manifest.format());
  snapshot.done();

  const after = manifest.snapshot();
  deepStrictEqual(await pathsOf(allRows(after)), PATHS.slice(10));
  deepStrictEqual(await pathsOf(allRetries(after)), []);
  strictEqual(after.meta("instance_id"), "later");
  after.done();
  await manifest.close();
});

Deno.test("allRows() and allRetries() let other work go on after each page", async () => {
  const manifest = await manifestWithRetries();
  const snapshot = manifest.snapshot();
  ok(await pagesInATurn(allRows(snapshot)) <= 1);
  ok(await pagesInATurn(allRetries(snapshot)) <= 1);
  snapshot.done();
  await manifest.close();
});
