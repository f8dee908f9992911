// deno-lint-ignore-file no-sync-fn-in-async-fn -- it is the sync one that is to fail
/**
 * Other processes open the manifest while it is written: LMDB alone would lose commits
 * (src/manifest/data_file_lock.ts).
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { parseDepotPath } from "../../src/core/names.ts";
import { nextTurn } from "../../src/core/turns.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { LocalStat, Manifest } from "../../src/manifest/manifest.ts";

const STAT: LocalStat = {
  sizeBytes: 1,
  mtimeNs: 1n,
  ctimeNs: 1n,
  mode: 0o444,
  uid: 1,
  gid: 1,
  ino: 1n,
  dev: 1n,
};
const PATHS = Array.from({ length: 60 }, (_, i) => parseDepotPath(`d/${i},v`));
const OPENERS = 2;
const CHANGES = 2_000;
const WRITERS = 8;

async function withManifest(
  run: (manifest: Manifest, directory: string) => Promise<void>,
): Promise<void> {
  const place = await Deno.makeTempDir({ prefix: "p4cache-openers-" });
  const directory = `${place}/manifest`;
  const manifest = await openManifest({ directory });
  try {
    await run(manifest, directory);
  } finally {
    await manifest.close();
    await Deno.remove(place, { recursive: true });
  }
}

/** Whether it has still not ended when everything that is ready has had its turn. */
async function isWaiting(work: Promise<unknown>): Promise<boolean> {
  let hasEnded = false;
  void work.then(() => hasEnded = true);
  for (let turn = 0; turn < 100; turn++) await nextTurn();
  return !hasEnded;
}

const write = (manifest: Manifest, index: number, sizeBytes: number): Promise<unknown> =>
  manifest.apply(PATHS[index]!, "any", {
    kind: "written",
    stat: { ...STAT, sizeBytes },
    nowS: 1,
  });

Deno.test("a commit waits for who opens the manifest, and an opening for a commit", () =>
  withManifest(async (manifest, directory) => {
    using other = await Deno.open(`${directory}/data.mdb`);
    await other.lock(true);
    const writing = write(manifest, 0, 7);
    ok(await isWaiting(writing));
    await other.unlock();
    await writing;
    strictEqual(manifest.get(PATHS[0]!)?.local.sizeBytes, 7);

    await other.lock(false);
    await write(manifest, 1, 8);
    const opening = openManifest({ directory, readOnly: true });
    ok(await isWaiting(opening));
    await other.unlock();
    await (await opening).close();
  }));

Deno.test("what was committed stays, however often other processes open the manifest", () =>
  withManifest(async (manifest, directory) => {
    const script = new URL("opener_child.ts", import.meta.url).pathname;
    const openers = Array.from(
      { length: OPENERS },
      () =>
        new Deno.Command(Deno.execPath(), {
          args: ["run", "--allow-all", "--no-check", script, directory],
          stdin: "piped",
          stdout: "piped",
        }).spawn(),
    );
    for (const { stdout } of openers) {
      const reader = stdout.getReader();
      ok(!(await reader.read()).done);
      reader.releaseLock();
    }
    const sizes = PATHS.map(() => 0);
    let changes = 0;
    await Promise.all(Array.from({ length: WRITERS }, async (_, writer) => {
      for (
        let i = writer;
        changes < CHANGES;
        i = i + WRITERS < PATHS.length ? i + WRITERS : writer
      ) {
        const sizeBytes = ++changes;
        await write(manifest, i, sizeBytes);
        sizes[i] = sizeBytes;
        strictEqual(manifest.get(PATHS[i]!)?.local.sizeBytes, sizeBytes);
      }
    }));
    for (const opener of openers) {
      await opener.stdin.close();
      await opener.stdout.cancel();
      ok((await opener.status).success);
    }
    const { kept, counted } = await manifest.recount();
    deepStrictEqual(kept, counted);
    deepStrictEqual(PATHS.map((path) => manifest.get(path)?.local.sizeBytes), sizes);
  }));

Deno.test("nothing is committed to a file that another one has replaced, or that is gone", () =>
  withManifest(async (manifest, directory) => {
    await write(manifest, 0, 7);
    const data = `${directory}/data.mdb`;
    await Deno.copyFile(data, `${directory}/other`);
    await write(manifest, 0, 8);
    await Deno.rename(data, `${directory}/opened`);
    const refused = {
      fault: "unavailable",
      message: /data\.mdb .*; stop the daemon .*`p4-cache rebuild-manifest`.*nothing was/,
    };
    await rejects(write(manifest, 0, 9), refused);
    await Deno.rename(`${directory}/other`, data);
    await rejects(write(manifest, 0, 9), refused);
    strictEqual(manifest.get(PATHS[0]!)?.local.sizeBytes, 8);
    strictEqual(manifest.trouble()?.error.fault, "unavailable");

    await Deno.rename(`${directory}/opened`, data);
    await write(manifest, 0, 10);
    strictEqual(manifest.get(PATHS[0]!)?.local.sizeBytes, 10);
    strictEqual(manifest.trouble(), null);
  }));

Deno.test("a data file that cannot be had is told as that, and not as damaged", () =>
  withManifest(async (manifest, directory) => {
    await manifest.close();
    const openSync = Deno.openSync;
    Deno.openSync = () => {
      throw new Error("Too many open files (os error 24)");
    };
    try {
      for (const readOnly of [true, false]) {
        await rejects(openManifest({ directory, readOnly }), {
          name: "ManifestError",
          fault: "unavailable",
          message: /Cannot open the manifest in .*Too many open files/,
        });
      }
    } finally {
      Deno.openSync = openSync;
    }
  }));

Deno.test("a limit of open files is told as that, wherever it is met, and not as damaged", () =>
  withManifest(async (_manifest, directory) => {
    const child = new URL("few_files_child.ts", import.meta.url).pathname;
    const said = `${directory}/said`;
    const met = new Set<string>();
    for (let more = 0;; more++) {
      const { success } = await new Deno.Command("sh", {
        args: [
          "-c",
          'ulimit -n 100; exec "$@"',
          "sh",
          Deno.execPath(),
          "run",
          "-A",
          child,
          directory,
          String(more),
          said,
        ],
      }).output();
      ok(success);
      const found = await Deno.readTextFile(said);
      if (found === "opened") break;
      ok(/^unavailable: .*Too many open files/.test(found), `${more} more: ${found}`);
      met.add(found);
    }
    // By our own lock, and by LMDB.
    ok(met.size >= 2, [...met].join("; "));
  }));
