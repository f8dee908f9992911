/**
 * What only a directory can do to a store: be unmounted, be copied, be interrupted
 * between two files, hold what is no object.
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { openNfsBackend } from "../../src/storage/nfs/nfs_backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { MemoryTarget, metadataOf, patternBytes, sourceOf } from "./test_bytes.ts";

const KEY = objectKeyOf("depot/main/foo.c,v");
const isRoot = Deno.uid() === 0;

const posix = openPosix(nativeFile("libp4posix.so"));

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "p4cache-nfs-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

const open = (root: string, more = {}): Promise<StorageBackend> =>
  openNfsBackend({ root, prefix: "", initialize: true, posix, ...more });

async function put(
  backend: StorageBackend,
  bytes: Uint8Array,
  key = KEY,
): Promise<unknown> {
  const metadata = metadataOf(bytes);
  return await backend.upload({ key, source: sourceOf(bytes), metadata });
}

async function expectContent(
  backend: StorageBackend,
  bytes: Uint8Array,
  ifMatch: string | null = null,
): Promise<void> {
  const target = new MemoryTarget();
  await backend.download({ key: KEY, target, sizeBytes: bytes.length, ifMatch });
  target.expect(bytes);
}

async function rejectsAs(
  fault: StorageFault,
  body: () => Promise<unknown>,
): Promise<void> {
  await rejects(body, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    return true;
  });
}

async function filesBelow(directory: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) names.push(...await filesBelow(path));
    else names.push(path);
  }
  return names.sort();
}

Deno.test("nfs: a root that does not exist is refused, and not created", async () => {
  await inDirectory(async (directory) => {
    const root = `${directory}/not/there`;
    await rejects(() => open(root), /does not exist; mount the export/);
    await rejects(() => Deno.lstat(`${directory}/not`), Deno.errors.NotFound);
  });
});

Deno.test("nfs: a root that is a file, or relative, is refused", async () => {
  await inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/file`, "");
    await rejects(() => open(`${directory}/file`), /not a directory/);
    await rejects(() => open("relative"), /absolute path/);
    await rejects(() => open(directory, { prefix: "a/../b" }), /segment/);
  });
});

Deno.test("nfs: an empty root where nothing is mounted is refused", async () => {
  await inDirectory(async (directory) => {
    await rejects(() => open(directory, { initialize: false }), /nothing is mounted/);
    await Deno.mkdir(`${directory}/.p4cache-storage`);
    const backend = await open(directory, { initialize: false });
    await put(backend, patternBytes(10, 1));
  });
});

Deno.test("nfs: opening and reading a store writes nothing", async () => {
  await inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/foo.c,v`, "text");
    const backend = await open(directory, { initialize: false });
    strictEqual((await backend.head(objectKeyOf("foo.c,v")))?.sizeBytes, 4);
    strictEqual(await backend.head(KEY), null);
    await backend.delete({ key: KEY });
    deepStrictEqual(await filesBelow(directory), [`${directory}/foo.c,v`]);
  });
});

Deno.test("nfs: a key that would leave the store, or enter our own part, is refused", async () => {
  await inDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/outside,v`, "x");
    const backend = await open(directory, { prefix: "store" });
    const keys = [
      "",
      "/etc/passwd",
      "..",
      "../outside,v",
      "a/../../outside,v",
      "a//b",
      "./a",
      "a/",
      "a\0b",
      "a\ud800b",
      ".p4cache/x",
      ".p4cache-storage/identity",
      ".p4cache-tmp/x",
    ].map(objectKeyOf);
    for (const key of keys) {
      const target = new MemoryTarget();
      await rejectsAs("invalid", () => put(backend, patternBytes(1, 2), key));
      await rejectsAs("invalid", () => backend.head(key));
      await rejectsAs("invalid", () => backend.delete({ key }));
      await rejectsAs("invalid", () => backend.download({ key, target, sizeBytes: 1 }));
    }
    await rejectsAs("invalid", () => Array.fromAsync(backend.list("../")));
    strictEqual(await Deno.readTextFile(`${directory}/outside,v`), "x");
  });
});

Deno.test("nfs: an archive lies under its own name, its metadata in the sidecar tree", async () => {
  await inDirectory(async (directory) => {
    const backend = await open(directory, { prefix: "pre" });
    const bytes = patternBytes(1_000, 3);
    await put(backend, bytes);
    deepStrictEqual(await Deno.readFile(`${directory}/pre/${KEY}`), bytes);
    deepStrictEqual(await filesBelow(directory), [
      `${directory}/pre/.p4cache-storage/identity`,
      `${directory}/pre/.p4cache-storage/meta/${KEY}`,
      `${directory}/pre/${KEY}`,
    ]);
    await backend.delete({ key: KEY });
    deepStrictEqual(await filesBelow(directory), [
      `${directory}/pre/.p4cache-storage/identity`,
    ]);
  });
});

for (const [program, ...args] of [["cp", "-a"], ["rsync", "-a"]] as const) {
  const isThere = await run(program, "--version").then(() => true, () => false);
  // deno-lint-ignore no-console -- a skip says why
  if (!isThere) console.log(`skipped: nfs: copy by ${program}: it is not installed`);
  Deno.test({
    name: `nfs: a store that was copied by ${program} -a keeps ETags and metadata`,
    ignore: !isThere,
    fn: () => expectCopied(program, args),
  });
}

async function expectCopied(program: string, args: readonly string[]): Promise<void> {
  await inDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/old`);
    const backend = await open(`${directory}/old`);
    const bytes = patternBytes(1_000, 4);
    await put(backend, bytes);
    const before = await backend.head(KEY);
    await run(program, ...args, `${directory}/old/`, `${directory}/new`);
    const moved = await open(`${directory}/new`);
    const after = await moved.head(KEY);
    strictEqual(after?.etag, before?.etag);
    deepStrictEqual(after?.metadata, before?.metadata);
    await expectContent(moved, bytes, before?.etag ?? null);
  });
}

Deno.test("nfs: a sidecar of another file is not believed", async () => {
  await inDirectory(async (directory) => {
    const backend = await open(directory);
    await put(backend, patternBytes(1_000, 5));
    await Deno.writeFile(`${directory}/${KEY}`, patternBytes(999, 6));
    strictEqual((await backend.head(KEY))?.metadata, null);
    await Deno.writeTextFile(`${directory}/.p4cache-storage/meta/${KEY}`, '{"version":1');
    strictEqual((await backend.head(KEY))?.metadata, null);
    await Deno.writeTextFile(`${directory}/.p4cache-storage/meta/${KEY}`, "null");
    strictEqual((await backend.head(KEY))?.metadata, null);
  });
});

Deno.test("nfs: an upload that was cut off before its sidecar is completed by the next", async () => {
  await inDirectory(async (directory) => {
    const backend = await open(directory);
    const bytes = patternBytes(1_000, 7);
    await put(backend, bytes);
    await Deno.remove(`${directory}/.p4cache-storage/meta/${KEY}`);
    await rejectsAs("precondition", () => put(backend, patternBytes(1_000, 8)));
    strictEqual((await backend.head(KEY))?.metadata, null, "other bytes prove nothing");
    await rejectsAs("precondition", () => put(backend, bytes));
    deepStrictEqual((await backend.head(KEY))?.metadata, metadataOf(bytes));
  });
});

Deno.test("nfs: what is no object is neither listed nor read", async () => {
  await inDirectory(async (directory) => {
    const backend = await open(directory);
    await put(backend, patternBytes(10, 9));
    await Deno.symlink("/etc/passwd", `${directory}/link,v`);
    await Deno.writeTextFile(`${directory}/README`, "of the administrator");
    await Deno.writeTextFile(`${directory}/depot/.nfs000000000000000100000001`, "");
    await Deno.mkdir(`${directory}/directory,v`);
    const keys = (await Array.fromAsync(backend.list(""))).map((info) => info.key);
    deepStrictEqual(keys, [KEY]);
    await rejectsAs("invalid", () => backend.head(objectKeyOf("link,v")));
    strictEqual(await backend.head(objectKeyOf("directory,v")), null);
  });
});

Deno.test("nfs: a directory that vanished is made again", async () => {
  await inDirectory(async (directory) => {
    const backend = await open(directory);
    await put(backend, patternBytes(10, 10));
    await Deno.remove(`${directory}/depot`, { recursive: true });
    await rejectsAs("unavailable", () => put(backend, patternBytes(11, 11)));
    await put(backend, patternBytes(11, 11));
    await expectContent(backend, patternBytes(11, 11));
  });
});

Deno.test("nfs: temporary files of killed uploads go after a day, younger ones stay", async () => {
  await inDirectory(async (directory) => {
    const temporaries = `${directory}/.p4cache-tmp`;
    await Deno.mkdir(temporaries);
    const dayMs = 86_400_000;
    for (const [name, ageMs] of [["old", dayMs * 1.1], ["young", dayMs * 0.9]] as const) {
      await Deno.writeTextFile(`${temporaries}/${name}`, "half an upload");
      const time = new Date(Date.now() - ageMs);
      await Deno.utime(`${temporaries}/${name}`, time, time);
    }
    await put(await open(directory), patternBytes(10, 17));
    deepStrictEqual(await filesBelow(temporaries), [`${temporaries}/young`]);
  });
});

Deno.test({
  name: "nfs: an export that is unmounted answers nothing, and takes nothing",
  ignore: !isRoot,
  async fn(): Promise<void> {
    await inDirectory(async (directory) => {
      const root = `${directory}/mnt`;
      await Deno.mkdir(root);
      await run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", root);
      try {
        const backend = await open(root, { initialize: false });
        await put(backend, patternBytes(1_000, 12));
        await run("umount", root);
        const target = new MemoryTarget();
        await rejectsAs("unavailable", () => backend.head(KEY));
        await rejectsAs("unavailable", () => put(backend, patternBytes(1_000, 12)));
        await rejectsAs("unavailable", () => backend.delete({ key: KEY }));
        await rejectsAs("unavailable", () => Array.fromAsync(backend.list("")));
        await rejectsAs(
          "unavailable",
          () => backend.download({ key: KEY, target, sizeBytes: 1_000 }),
        );
        deepStrictEqual(await filesBelow(root), []);
        await rejects(() => open(root, { initialize: false }), /nothing is mounted/);
      } finally {
        await run("umount", root).catch(() => {});
      }
    });
  },
});

Deno.test({
  name: "nfs: a store that is mounted again under another device goes on",
  ignore: !isRoot,
  async fn(): Promise<void> {
    await inDirectory(async (directory) => {
      const root = `${directory}/mnt`;
      const image = `${directory}/image`;
      await Deno.mkdir(root);
      await run("truncate", "-s", "16M", image);
      await run("mkfs.ext4", "-q", image);
      await run("mount", "-o", "loop", image, root);
      try {
        const backend = await open(root);
        await put(backend, patternBytes(1_000, 13));
        await run("umount", root);
        // Another one takes the device number first.
        await run("mount", "-t", "tmpfs", "tmpfs", root);
        await rejectsAs("unavailable", () => expectContent(backend, patternBytes(1, 1)));
        await run("mount", "-o", "loop", image, root);
        await expectContent(backend, patternBytes(1_000, 13));
        await put(backend, patternBytes(5, 14), objectKeyOf("another,v"));
      } finally {
        await run("umount", root).catch(() => {});
        await run("umount", root).catch(() => {});
      }
    });
  },
});

Deno.test({
  name: "nfs: a full store says so, and keeps what it has",
  ignore: !isRoot,
  async fn(): Promise<void> {
    await inDirectory(async (directory) => {
      const root = `${directory}/mnt`;
      await Deno.mkdir(root);
      await run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", root);
      try {
        const backend = await open(root);
        await put(backend, patternBytes(1_000_000, 15));
        const other = objectKeyOf("other,v");
        await rejectsAs("full", () => put(backend, patternBytes(3_000_000, 16), other));
        strictEqual(await backend.head(other), null);
        await expectContent(backend, patternBytes(1_000_000, 15));
        const temporary = await filesBelow(`${root}/.p4cache-tmp`);
        deepStrictEqual(temporary, [], "nothing is left behind");
      } finally {
        await run("umount", root);
      }
    });
  },
});

if (!isRoot) {
  // deno-lint-ignore no-console -- a skip says why
  console.log("skipped: nfs: mounting and unmounting: not root");
}

Deno.test("a small read that never comes back is given up, and its memory is not used again", async () => {
  await inDirectory(async (root) => {
    const memories: ArrayBufferLike[] = [];
    const readFile: typeof posix.readFile = (path, memory) => {
      memories.push(memory.buffer);
      return memories.length === 1 ? new Promise(() => {}) : posix.readFile(path, memory);
    };
    const backend = await open(root, { posix: { readFile }, stallMs: 200 });
    const bytes = patternBytes(200_000, 1);
    await put(backend, bytes);
    const get = async (): Promise<void> => {
      const target = new MemoryTarget();
      const asked = { key: KEY, target, sizeBytes: bytes.length, withoutMetadata: true };
      await backend.download(asked);
      target.expect(bytes);
    };
    await rejectsAs("unavailable", get);
    await get();
    await get();
    const [hung, second, third] = memories;
    ok(second !== hung);
    strictEqual(third, second);
    await backend.close();
  });
});

/** The directories that `body` reads, as the file system is asked. */
async function readBy(body: () => Promise<void>): Promise<string[]> {
  const { readDir } = Deno;
  const read: string[] = [];
  Deno.readDir = (path) => {
    read.push(String(path));
    return readDir(path);
  };
  try {
    await body();
  } finally {
    Deno.readDir = readDir;
  }
  return read.sort();
}

Deno.test("nfs: a listing reads only the directories that may hold a key of its prefix", async () => {
  await inDirectory(async (root) => {
    const backend = await open(root);
    const long = `depot/main/${"n".repeat(300)}`;
    const keys = [
      "depot/main/a,v",
      "depot/main/a,v.p4cv-0123456789abcdef",
      // As a tree that was copied in may have it.
      "depot/main/a,v.p4cv-dir/x,v",
      "depot/main/ab/x,v",
      "depot/main/sub/deep/er/x,v",
      "depot/main/art,d/1.1.gz",
      "depot/other/x,v",
      `${long},v`,
      `${long}/x,v`,
    ].map(objectKeyOf);
    for (const key of keys) await put(backend, patternBytes(3, 1), key);
    const listed = async (prefix: string): Promise<[found: string[], read: string[]]> => {
      let found: string[] = [];
      const read = await readBy(async () => {
        const infos = await Array.fromAsync(backend.list(prefix));
        found = infos.map(({ key }) => key as string).sort();
      });
      deepStrictEqual(found, keys.filter((key) => key.startsWith(prefix)).sort());
      return [found, read.map((path) => path.slice(root.length))];
    };
    const versions = await listed("depot/main/a,v.p4cv-");
    deepStrictEqual(versions[0].length, 2);
    deepStrictEqual(versions[1], ["/depot/main", "/depot/main/a,v.p4cv-dir"]);
    deepStrictEqual((await listed("depot/main/sub"))[1], [
      "/depot/main",
      "/depot/main/sub",
      "/depot/main/sub/deep",
      "/depot/main/sub/deep/er",
    ]);
    deepStrictEqual((await listed("depot/main/art,d/1"))[1], ["/depot/main/art,d"]);
    strictEqual((await listed("depot/o"))[1].length, 2);
    // A name that is cut into directories, reached and begun.
    strictEqual((await listed(`${long.slice(0, 100)}`))[0].length, 2);
    strictEqual((await listed(`${long},v`))[0].length, 1);
    strictEqual((await listed(`${long}/`))[0].length, 1);
    strictEqual((await listed(""))[0].length, keys.length);
    await backend.close();
  });
});
