/**
 * A rebuild of a depot of which a part cannot be listed: a marker that lies there may be of any
 * row, so that no row may be taken to be replaced.
 *
 * @module
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { StartError } from "../../src/daemon/start_error.ts";
import { hideDirectory } from "../support/engine_fixture.ts";
import { GRACE_HOURS, LostManifest } from "../support/lost_manifest.ts";

/** Since the copy `p,v` was renamed into `x`, and `q,v` to its name. */
async function open(withCopy: boolean): Promise<LostManifest> {
  const lost = await LostManifest.open();
  await lost.storeAndEvict("p,v", "the first file", new Date("2024-01-01T00:00:00Z"));
  await lost.storeAndEvict("q,v", "another", new Date("2024-02-01T00:00:00Z"));
  if (withCopy) await lost.copy();
  await lost.rename("p,v", "x/p,v", { make: "x" });
  await lost.rename("q,v", "p,v");
  return lost;
}

for (const withCopy of [true, false]) {
  for (const code of ["EACCES", "EIO"]) {
    Deno.test(`a rebuild ends where a directory cannot be listed (${code}), with ${withCopy ? "a" : "no"} copy, and goes on when it can`, async () => {
      await using lost = await open(withCopy);
      const end = hideDirectory(lost.fixture.posix, "x", code);
      await rejects(
        lost.rebuild(),
        (error) =>
          error instanceof StartError && error.message.includes(`x (${code})`) &&
          error.status === (code === "EIO" ? 3 : 77),
      );
      await lost.sweepFor(2.5 * GRACE_HOURS);
      deepStrictEqual(await lost.keys(), ["p,v", "q,v"]);
      end();
      await lost.rebuildAgain();
      strictEqual(await lost.read("x/p,v"), "the first file");
      strictEqual(await lost.read("p,v"), "another");
      await lost.scan();
      await lost.sweepFor(2.5 * GRACE_HOURS);
      deepStrictEqual(await lost.keys(), ["p,v", "q,v"]);
    });
  }
}

Deno.test("a rebuild minds neither the directory of fsck nor what is gone meanwhile", async () => {
  await using lost = await open(true);
  hideDirectory(lost.fixture.posix, "lost+found");
  hideDirectory(lost.fixture.posix, "y", "ENOENT");
  await lost.rebuild();
  strictEqual(await lost.read("x/p,v"), "the first file");
});
