/**
 * A directory of more rows than the manifest takes at once is renamed, and the daemon ends in the
 * middle of it, by a stop or by a kill.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import type { Manifest, MetaName } from "../../src/manifest/manifest.ts";
import { Site, until } from "./site.ts";

const FILES = 1_000;

/** What the daemon committed, seen from another process. */
async function withManifest<T>(
  site: Site,
  look: (manifest: Manifest) => Promise<T> | T,
): Promise<T> {
  const directory = `${site.depot}/.p4cache/manifest`;
  const manifest = await openManifest({ directory, readOnly: true });
  try {
    return await look(manifest);
  } finally {
    await manifest.close();
  }
}

function rowsBelow(site: Site, directory: string): Promise<number> {
  return withManifest(
    site,
    (manifest) => manifest.entries(`${directory}/`, null, 2 * FILES).length,
  );
}

/** All rows are under the name that the directory has, and no marker is under another. */
async function hasMoved(site: Site, from: string, to: string): Promise<void> {
  await until("the scan is over", () => site.log.includes("scanned the depot"));
  deepStrictEqual([await rowsBelow(site, from), await rowsBelow(site, to)], [0, FILES]);
  const { stdout } = await site.program(["ls", site.depot], { shim: false });
  strictEqual(stdout.trim(), to);
}

Deno.test("a directory that is renamed when the daemon ends is read under its new name after the next start", async () => {
  await using site = await Site.open();
  await Deno.mkdir(`${site.depot}/a`);
  for (let i = 0; i < FILES; i++) {
    await Deno.writeTextFile(`${site.depot}/a/${i},v`, `content of ${i};`);
  }
  await site.start();
  await site.uploaded(FILES);
  await site.evictAll();

  await Deno.rename(`${site.depot}/a`, `${site.depot}/b`);
  strictEqual(await site.end("SIGTERM"), 0);
  await Deno.truncate(`${site.directory}/daemon.log`);
  await site.start();
  await hasMoved(site, "a", "b");

  await withManifest(site, async (manifest) => {
    const moving = "moving" as MetaName;
    await Deno.rename(`${site.depot}/b`, `${site.depot}/c`);
    await until(
      "the move has begun",
      () =>
        manifest.meta(moving) !== null || manifest.paths(null, 1)[0]!.startsWith("c/"),
    );
    await site.end("SIGKILL");
  });
  await Deno.truncate(`${site.directory}/daemon.log`);
  await site.start();
  await hasMoved(site, "b", "c");

  const names = Array.from({ length: FILES }, (_, i) => `${site.depot}/c/${i},v`);
  const { code, stdout } = await site.program(["cat", ...names], { shim: true });
  strictEqual(code, 0);
  strictEqual(stdout, names.map((_, i) => `content of ${i};`).join(""));
});
