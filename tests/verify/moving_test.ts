/**
 * A world that changes while it is verified, a store that does not answer, and files that do
 * not fit into memory.
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { archiveStoreOf } from "../../src/verify/archive_store.ts";
import {
  type ArchiveStore,
  LocalFileError,
  type LocalFiles,
  type ReadableFile,
  StoreReadError,
} from "../../src/verify/sources.ts";
import { writeRcs } from "./rcs_writer.ts";
import {
  bytesOfText,
  checkpointText,
  revLine,
  STANDARD_REVISIONS,
  standardArchives,
  World,
} from "./world.ts";

const RCS = "depot/src/a.c,v";

/** Runs `change` once, just before `path` is opened for the first time. */
function beforeFirstOpen(
  path: string,
  change: () => Promise<void>,
): (files: LocalFiles) => LocalFiles {
  let isDone = false;
  return (files) => ({
    ...files,
    async open(name): Promise<ReadableFile> {
      if (name === path && !isDone) {
        isDone = true;
        await change();
      }
      return await files.open(name);
    },
  });
}

Deno.test("a file that is evicted between the look and the read is checked in the store", async () => {
  await using world = await World.make();
  await world.store();
  const files = beforeFirstOpen(RCS, () => world.evict(RCS));
  const { result, findings } = await world.verify({}, { files });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.total.ok, STANDARD_REVISIONS);
  strictEqual(result.total.bytesRecalled > 0, true);
});

Deno.test("a file that is replaced while it is read is looked at again", async () => {
  await using world = await World.make();
  const good = standardArchives().get(RCS)!;
  await world.write(RCS, bytesOfText("half of a file"));
  const { result, findings } = await world.verify({}, {
    // The damaged bytes are read; by the time that they are judged the file is whole.
    files: (files) => ({
      ...files,
      async open(name): Promise<ReadableFile> {
        const file = await files.open(name);
        if (name === RCS) await world.write(RCS, good);
        return file;
      },
    }),
  });
  deepStrictEqual([findings, result.total.ok], [[], STANDARD_REVISIONS]);
});

Deno.test("a file that vanishes whenever it is opened is missing, and the run ends", async () => {
  await using world = await World.make();
  const { findings } = await world.verify({}, {
    files: (files) => ({
      ...files,
      open: (name) =>
        name === RCS
          ? Promise.reject(new LocalFileError("gone", "it is gone"))
          : files.open(name),
    }),
  });
  deepStrictEqual(findings.map((it) => [it.kind, it.why]), [
    ["missing", "it vanishes whenever it is looked at"],
    ["missing", "it vanishes whenever it is looked at"],
    ["missing", "it vanishes whenever it is looked at"],
  ]);
});

Deno.test("a disk that fails is a finding, permissions are not", async () => {
  await using world = await World.make();
  const failing =
    (fault: "io" | "denied"): (files: LocalFiles) => LocalFiles => (files) => ({
      ...files,
      open: (name) =>
        name === RCS
          ? Promise.reject(new LocalFileError(fault, `Cannot read: ${fault}`))
          : files.open(name),
    });
  const io = await world.verify({}, { files: failing("io") });
  deepStrictEqual(io.findings.map((it) => [it.kind, it.wrong]), [
    ["bad", ["local"]],
    ["bad", ["local"]],
    ["bad", ["local"]],
  ]);
  const denied = await world.verify({}, { files: failing("denied") });
  deepStrictEqual([denied.findings, denied.result.total.unverifiable], [[], 3]);
  match(denied.result.incomplete.join(), /Cannot read: denied/);
});

function failingStore(world: World, fault: StoreReadError["fault"]): ArchiveStore {
  const fail = (): Promise<never> =>
    Promise.reject(new StoreReadError(fault, `the store says ${fault}`));
  const good = archiveStoreOf(world.backend);
  return fault === "archived" ? { ...good, fetch: fail } : {
    head: fail,
    fetch: fail,
    list: () => ({ [Symbol.asyncIterator]: () => ({ next: fail }) }),
  };
}

Deno.test("a store that does not answer makes no finding, and no run complete", async () => {
  await using world = await World.make();
  await world.store();
  for (const path of await world.paths()) await world.evict(path);
  for (const depth of ["exists", "size", "hash", "content"] as const) {
    const store = failingStore(world, "failed");
    const { result, findings } = await world.verify({ depth }, { store });
    deepStrictEqual(findings, []);
    match(result.incomplete.join(), /the store says failed/);
  }
});

Deno.test("an object in an archive class is unverifiable, and the run is complete", async () => {
  await using world = await World.make();
  await world.store();
  for (const path of await world.paths()) await world.evict(path);
  const store = failingStore(world, "archived");
  const { result, findings } = await world.verify({}, { store });
  deepStrictEqual([findings, result.incomplete], [[], []]);
  strictEqual(result.total.unverifiable, STANDARD_REVISIONS);
  deepStrictEqual([...result.reasons], [
    ["the object is in an archive class", STANDARD_REVISIONS],
  ]);
});

Deno.test("a ,v too large to hold is read by windows, from disk and from the store", async () => {
  const line = "a line of a very large file, again and again @ home\n";
  const newest = line.repeat(700_000);
  const older = `first\n${newest.slice(line.length)}last`;
  const path = "depot/large,v";
  const lines = [
    revLine({ depotFile: "//depot/large", rev: 1, text: older }),
    revLine({ depotFile: "//depot/large", rev: 2, text: newest }),
  ];
  const rcs = writeRcs([
    { number: "1.101", text: older },
    { number: "1.102", text: newest },
  ]);
  strictEqual(rcs.length > 33 << 20, true);
  await using world = await World.make(
    new Map([[path, bytesOfText(rcs)]]),
    checkpointText({ lines }),
  );
  await world.store();
  const resident = await world.verify({ readsAllCopies: true });
  deepStrictEqual([resident.findings, resident.result.total.ok], [[], 2]);
  await world.evict(path);
  const evicted = await world.verify();
  deepStrictEqual([evicted.findings, evicted.result.total.ok], [[], 2]);
  deepStrictEqual(evicted.result.total.bytesRecalled, rcs.length);
});
