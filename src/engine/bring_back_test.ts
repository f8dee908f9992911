/**
 * What a restore that fails leaves behind.
 *
 * @module
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  afterPublishing,
  type EngineFixture,
  openEngineFixture,
  SIZES,
} from "../../tests/support/engine_fixture.ts";
import { openSimEngine } from "../../tests/support/sim_engine.ts";
import { bytePathOf, type DepotPath, parseDepotPath } from "../core/names.ts";
import { PosixError } from "../posix/posix.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

const EIO = 5;
const KB = 1_000;

async function evicted(fixture: EngineFixture, content: string): Promise<DepotPath> {
  const path = fixture.path("a,v");
  await fixture.write("a,v", content);
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  strictEqual(await evict(fixture.context, path), "evicted");
  return path;
}

function namesIn({ root }: EngineFixture, directory: string): string[] {
  try {
    return [...Deno.readDirSync(`${root}/.p4cache/${directory}`)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** From now on restores fail before our file has its content's time. */
function failToPublish({ posix }: EngineFixture, wasShown: boolean): void {
  posix.publish = ({ target }) => {
    const error = new PosixError("publish", target, EIO);
    return Promise.resolve({ outcome: "failed", error, wasShown, shownCtimeNs: 0n });
  };
  posix.bring = async ({ first, target }) => {
    const { fd, ino } = await posix.createNamed(first);
    posix.close(fd);
    const error = new PosixError("publish", target, EIO);
    return { outcome: "failed", error, ino, wasShown, shownCtimeNs: 0n };
  };
}

for (const [name, sizeBytes] of Object.entries(SIZES)) {
  Deno.test(`our ${name} file that never had its name is removed, and one that had it is kept if it was written`, async () => {
    for (const wasShown of [false, true]) {
      await using fixture = await openEngineFixture();
      const path = await evicted(fixture, "x".repeat(sizeBytes));
      failToPublish(fixture, wasShown);
      for (let i = 0; i < 3; i++) {
        await rejects(fixture.restorer.restore(path), { fault: "UNAVAILABLE" });
      }
      deepStrictEqual(namesIn(fixture, "tmp"), []);
      strictEqual(namesIn(fixture, "lost+found").length, wasShown ? 3 : 0);
      strictEqual(fixture.posix.lstat(`${fixture.context.root}/a,v`)?.kind, "socket");
    }
  });
}

for (const [name, sizeBytes] of Object.entries(SIZES)) {
  Deno.test(`a restored ${name} file that is rewritten before it has its row, in size and time as it was, is not taken for what was restored`, async () => {
    await using fixture = await openEngineFixture();
    const { context, manifest, posix, restorer } = fixture;
    const path = await evicted(fixture, "x".repeat(sizeBytes));
    const written = "y".repeat(sizeBytes);
    afterPublishing(posix, async () => {
      const file = bytePathOf(`${fixture.root}/a,v`);
      const before = posix.lstat(file)!;
      // Until the clock of the file system has moved.
      do {
        await Deno.writeTextFile(file, written);
        posix.setTimes(file, { atimeNs: null, mtimeNs: before.mtimeNs });
      } while (posix.lstat(file)!.ctimeNs === before.ctimeNs);
    });
    await restorer.restore(path);
    const { state, resident } = manifest.get(path)!;
    deepStrictEqual({ state, resident }, { state: "clean", resident: true });
    strictEqual(await evict(context, path), "changed");
    strictEqual(await fixture.read("a,v"), written);
    strictEqual(manifest.get(path)!.state, "dirty");
  });
}

Deno.test("restores onto a disk that p4d fills meanwhile leave nothing behind", async () => {
  await using sim = await openSimEngine({}, { capacityBytes: 10 * KB });
  const path = parseDepotPath("a,v");
  await sim.write("a,v", 4 * KB);
  await sim.clock.advance(60_000);
  strictEqual(await evict(sim.context, path, { evictMinAgeSecs: 0 }), "evicted");
  const { posix, primary } = sim.context;
  const download = primary.download.bind(primary);
  primary.download = async (request) => {
    await sim.write("b,v", 8 * KB);
    return await download(request);
  };
  for (let i = 0; i < 3; i++) {
    await rejects(sim.engine.restore(path), { fault: "FULL" });
    deepStrictEqual(posix.readDirectory("/depot/.p4cache/tmp"), []);
    strictEqual(posix.readDirectory("/depot/.p4cache/lost+found"), null);
    posix.unlink("/depot/b,v");
  }
  primary.download = download;
  strictEqual((await sim.engine.restore(path)).wasEvicted, true);
});
