import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { type DepotPath, parseDepotPath } from "../../src/core/names.ts";
import { checkManifest } from "../../src/manifest/check_manifest.ts";
import { LmdbKeyValue } from "../../src/manifest/lmdb_key_value.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";
import { type ApplyOutcome, ManifestError } from "../../src/manifest/manifest.ts";
import { metaWrite, SCHEMA_VERSION } from "../../src/manifest/schema.ts";
import { pathOf, statOf, writeFile } from "./sample_manifest.ts";

async function faultsOf(directory: string): Promise<string[]> {
  const faults: string[] = [];
  for await (const { where, what } of checkManifest(directory)) {
    faults.push(`${where}: ${what}`);
  }
  return faults;
}

function startWriter(directory: string, first: number): Deno.ChildProcess {
  const script = new URL("writer_child.ts", import.meta.url).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script, directory, String(first)],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

/** Reads numbers until `count` have come, kills the writer, and returns all that came. */
async function acknowledgedUntilKilled(
  writer: Deno.ChildProcess,
  count: number,
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<number[]> {
  let text = "";
  let isKilled = false;
  const decoder = new TextDecoder();
  for await (const chunk of writer.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (isKilled || text.split("\n").length <= count) continue;
    await meanwhile();
    isKilled = true;
    writer.kill("SIGKILL");
  }
  await writer.status;
  return text.split("\n").slice(0, -1).map(Number);
}

async function inDirectory(run: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-files-" });
  try {
    await run(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("what was acknowledged is there after the writer was killed", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    const acknowledged: number[] = [];
    for (let round = 0; round < 5; round++) {
      const writer = startWriter(directory, round * 1_000_000);
      acknowledged.push(...await acknowledgedUntilKilled(writer, 200 + round * 311));
      deepStrictEqual(await faultsOf(directory), []);
      const manifest = await openManifest({ directory });
      for (const number of acknowledged) {
        strictEqual(manifest.get(pathOf(number))?.state, "dirty", `file ${number}`);
      }
      const { kept, counted } = await manifest.recount();
      deepStrictEqual(kept, counted);
      await manifest.close();
    }
    ok(acknowledged.length > 1_000);
  }));

Deno.test("readers in another process agree with themselves while a writer works", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    const writer = startWriter(directory, 0);
    await acknowledgedUntilKilled(writer, 500, async () => {
      const manifest = await openManifest({ directory, readOnly: true });
      const { kept, counted } = await manifest.recount();
      deepStrictEqual(kept, counted);
      ok(counted.dirtyFiles >= 500);
      await manifest.backup(`${root}/copy`);
      await manifest.close();
      deepStrictEqual(await faultsOf(`${root}/copy`), []);
      deepStrictEqual(await faultsOf(directory), []);
    });
  }));

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

Deno.test("a copy that fails leaves nothing beside its place", () =>
  inDirectory(async (root) => {
    const manifest = await openManifest({ directory: `${root}/manifest` });
    await Deno.mkdir(`${root}/copy/other`, { recursive: true });
    await rejects(manifest.backup(`${root}/copy`));
    await manifest.close();
    deepStrictEqual(namesIn(root), ["copy", "manifest"]);
  }));

Deno.test("the file grows while it is used, and reads go on", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    const manifest = await openManifest({ directory });
    const before = (await Deno.stat(`${directory}/data.mdb`)).size;
    const count = 4_000;
    const all: Promise<void>[] = [];
    for (let number = 0; number < count; number++) all.push(writeFile(manifest, number));
    await Promise.all(all);
    ok((await Deno.stat(`${directory}/data.mdb`)).size > 4 * before);
    for (let number = 0; number < count; number++) ok(manifest.get(pathOf(number)));
    await manifest.close();
  }));

Deno.test("a path of 3,900 bytes and its tombstone are kept on disk", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    const manifest = await openManifest({ directory });
    const path = parseDepotPath("x".repeat(3_900));
    await manifest.apply(path, "absent", { kind: "written", stat: statOf(9), nowS: 1 });
    await manifest.close();
    deepStrictEqual(await faultsOf(directory), []);
    const again = await openManifest({ directory, readOnly: true });
    deepStrictEqual(again.get(path)!.local, statOf(9));
    await again.close();
  }));

Deno.test("a directory whose rows would be too long by its rename takes no other write along", () =>
  inDirectory(async (root) => {
    const manifest = await openManifest({ directory: `${root}/manifest` });
    const write = (path: DepotPath): Promise<ApplyOutcome> =>
      manifest.apply(path, "absent", { kind: "written", stat: statOf(9), nowS: 1 });
    const long = parseDepotPath(`d/${"x".repeat(3_893)}`);
    const [first, last, other] = ["d/a,v", "d/z,v", "o,v"].map(parseDepotPath);
    await Promise.all([long, first!, last!].map(write));
    for (const length of [100, 200]) {
      const to = parseDepotPath("e".repeat(length));
      const moving = manifest.moveTree(parseDepotPath("d"), to, 1);
      const writing = write(parseDepotPath(`${other}${length}`));
      deepStrictEqual((await moving).left, [long]);
      strictEqual((await writing).outcome, "applied");
      strictEqual(manifest.get(long)!.state, "dirty");
    }
    strictEqual(manifest.get(parseDepotPath(`${"e".repeat(100)}/z,v`))!.state, "dirty");
    await manifest.close();
    deepStrictEqual(await faultsOf(`${root}/manifest`), []);
  }));

Deno.test("a manifest of a newer schema is refused by its number", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    await (await openManifest({ directory })).close();
    const store = await LmdbKeyValue.open(directory, { readOnly: false, create: false });
    await store.commit([metaWrite("schema_version", String(SCHEMA_VERSION + 1))]);
    await store.close();
    await rejects(openManifest({ directory }), {
      fault: "newer",
      message: new RegExp(`schema is ${SCHEMA_VERSION + 1}`),
    });
  }));

/** A file system of `sizeBytes`; false where that cannot be had. */
async function mountTmpfs(directory: string, sizeBytes: number): Promise<boolean> {
  const { success } = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", directory],
    stderr: "null",
  }).output();
  return success;
}

Deno.test("on a full disk an operation fails whole, is said, and the next one works", async (t) => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-full-" });
  if (!await mountTmpfs(root, 4 * 1024 * 1024)) {
    await Deno.remove(root);
    await t.step({
      name: "mounting a small file system needs root",
      ignore: true,
      fn(): void {},
    });
    return;
  }
  try {
    await Deno.writeFile(`${root}/filler`, new Uint8Array(2 * 1024 * 1024));
    await fillAndRecover(root);
  } finally {
    await new Deno.Command("umount", { args: [root] }).output();
    await Deno.remove(root);
  }
});

async function fillAndRecover(root: string): Promise<void> {
  const directory = `${root}/manifest`;
  const manifest = await openManifest({ directory });
  let written = 0;
  let error: unknown = null;
  while (error === null) {
    const some = Array.from({ length: 50 }, (_, i) => writeFile(manifest, written + i));
    const outcomes = await Promise.allSettled(some);
    const failed = outcomes.find(({ status }) => status === "rejected");
    // All of a group, or none.
    if (failed === undefined) written += some.length;
    else error = (failed as PromiseRejectedResult).reason;
  }
  ok(error instanceof ManifestError);
  strictEqual(error.fault, "full");
  match(error.message, /the disk is full; nothing was changed/);
  strictEqual(manifest.trouble()!.error, error);
  strictEqual(manifest.counters().dirtyFiles, written);
  strictEqual(manifest.get(pathOf(written - 1))?.state, "dirty");
  strictEqual(manifest.get(pathOf(written)), null);

  await Deno.remove(`${root}/filler`);
  await writeFile(manifest, written);
  strictEqual(manifest.trouble(), null);
  await manifest.close();
  deepStrictEqual(await faultsOf(directory), []);
  const again = await openManifest({ directory, readOnly: true });
  strictEqual(again.counters().dirtyFiles, written + 1);
  await again.close();
}

Deno.test("the room that is kept is a file of its own, and overwrites none where a link leads", () =>
  inDirectory(async (root) => {
    const directory = `${root}/manifest`;
    await Deno.writeTextFile(`${root}/other`, "other's");
    await Deno.symlink(`${root}/other`, `${directory}.reserve`);
    const ignored = (): void => {};
    const reserve = { sizeBytes: 1024 * 1024, onChange: ignored, onFault: ignored };
    const manifest = await openManifest({ directory, reserve });
    await manifest.close();
    strictEqual(await Deno.readTextFile(`${root}/other`), "other's");
    const { isFile, size } = await Deno.lstat(`${directory}.reserve`);
    deepStrictEqual([isFile, size], [true, 1024 * 1024]);
  }));

Deno.test("on a full disk commits go on in the room that is kept, which comes back with the space", async (t) => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-reserve-" });
  if (!await mountTmpfs(root, 8 * 1024 * 1024)) {
    await Deno.remove(root);
    await t.step({
      name: "mounting a small file system needs root",
      ignore: true,
      fn(): void {},
    });
    return;
  }
  try {
    await commitOnReserve(root);
  } finally {
    await new Deno.Command("umount", { args: [root] }).output();
    await Deno.remove(root);
  }
});

async function commitOnReserve(root: string): Promise<void> {
  const directory = `${root}/manifest`;
  const said: string[] = [];
  let nowMs = 1_000;
  const clock = { ...SYSTEM_CLOCK, monotonicMs: () => nowMs };
  const manifest = await openManifest({
    directory,
    clock,
    reserve: {
      sizeBytes: 1024 * 1024,
      onChange: (state) => void said.push(state),
      onFault: (error) => void said.push(String(error)),
    },
  });
  deepStrictEqual(said, ["kept"]);
  fillDisk(`${root}/filler`);
  let written = 0;
  // Until the pages that LMDB has free are used up, and with the room that was kept after.
  while (said.length === 1) await writeFile(manifest, written++);
  deepStrictEqual(said, ["kept", "used"]);
  strictEqual(manifest.trouble(), null);
  for (let i = 0; i < 20; i++) await writeFile(manifest, written++);
  await Deno.remove(`${root}/filler`);
  nowMs += 60_000;
  await writeFile(manifest, written++);
  deepStrictEqual(said, ["kept", "used", "kept"]);
  strictEqual((await Deno.stat(`${directory}.reserve`)).size, 1024 * 1024);
  await manifest.close();
  deepStrictEqual(await faultsOf(directory), []);
  const again = await openManifest({ directory, readOnly: true });
  strictEqual(again.counters().dirtyFiles, written);
  await again.close();
}

/** Takes every byte that is left. */
function fillDisk(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  for (let size = 1024 * 1024; size >= 4096;) {
    try {
      file.writeSync(new Uint8Array(size));
    } catch {
      size /= 2;
    }
  }
}

Deno.test("a copy onto a disk that is too small is refused with what is missing", async (t) => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-copy-" });
  if (!await mountTmpfs(root, 1024 * 1024)) {
    await Deno.remove(root);
    await t.step({
      name: "mounting a small file system needs root",
      ignore: true,
      fn(): void {},
    });
    return;
  }
  try {
    await inDirectory(async (place) => {
      const manifest = await openManifest({ directory: `${place}/manifest` });
      await rejects(manifest.backup(`${root}/copy`), {
        fault: "full",
        message: /Cannot copy the manifest to .*\/copy: it has \d+ bytes, \d+ are free/,
      });
      await manifest.close();
      deepStrictEqual(namesIn(root), []);
    });
  } finally {
    await new Deno.Command("umount", { args: [root] }).output();
    await Deno.remove(root);
  }
});

Deno.test("close() while a write fails ends in order", async (t) => {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-manifest-close-" });
  if (!await mountTmpfs(root, 1024 * 1024)) {
    await Deno.remove(root);
    await t.step({
      name: "mounting a small file system needs root",
      ignore: true,
      fn(): void {},
    });
    return;
  }
  try {
    const manifest = await openManifest({ directory: `${root}/manifest` });
    const many = Array.from({ length: 5_000 }, (_, i) => writeFile(manifest, i));
    const outcomes = Promise.allSettled(many);
    await manifest.close();
    const failed = (await outcomes).filter(({ status }) => status === "rejected");
    ok(failed.length > 0, "the disk was not full");
    for (const { reason } of failed as PromiseRejectedResult[]) {
      strictEqual(reason.fault, "full");
    }
  } finally {
    await new Deno.Command("umount", { args: [root] }).output();
    await Deno.remove(root);
  }
});
