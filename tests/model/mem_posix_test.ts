/**
 * The disk of the model against the kernel: the same random calls on both give the same
 * answers and leave the same tree.
 *
 * @module
 */

import { deepStrictEqual } from "node:assert/strict";
import { bytePathOf } from "../../src/core/names.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix, type Posix, PosixError } from "../../src/posix/posix.ts";
import { MemDisk } from "../support/mem_disk.ts";
import { MemPosix } from "../support/mem_posix.ts";
import { Random, runSeed } from "../verify/random.ts";

const NAMES = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "a/x"] as const;
const CALLS = 4_000;

/** One call by its number, with arguments from `random`; what it answered, as plain data. */
async function callOnce(posix: Posix, root: string, random: Random): Promise<unknown> {
  const a = `${root}/${random.pick(NAMES)}`;
  const b = `${root}/${random.pick(NAMES)}`;
  const size = random.int(50);
  const mtimeNs = BigInt(random.int(1e9));
  const attributes = { mode: 0o600 + random.int(8), uid: 0, gid: 0, mtimeNs };
  switch (random.int(16)) {
    case 0:
    case 1:
      return await writeNew(posix, a, size);
    case 2:
      return posix.makeDirs(a, 0o755);
    case 3:
      return posix.unlink(a);
    case 4:
      return posix.rmdir(a);
    case 5:
      return posix.rename(a, b);
    case 6:
      return posix.renameNoReplace(a, b);
    case 7:
      return posix.exchange(a, b);
    case 8:
      return posix.link(a, b);
    case 9:
      return posix.chmod(a, attributes.mode);
    case 10:
      return posix.setTimes(a, { atimeNs: null, mtimeNs });
    case 11:
    case 12:
      return posix.makeMarker(a, { ...attributes, sizeBytes: size });
    case 13:
      return await publish(posix, root, a, attributes);
    case 14:
      return await evict(posix, root, a, attributes);
    default:
      return await readWhole(posix, a);
  }
}

async function writeNew(posix: Posix, path: string, size: number): Promise<void> {
  const fd = posix.createTemp(path, 0o600);
  await posix.write(fd, new Uint8Array(size).fill(size), 0);
  if (size > 40) posix.truncate(fd, 40);
  posix.close(fd);
}

async function readWhole(posix: Posix, path: string): Promise<number[]> {
  const fd = posix.openRead(path);
  const buffer = new Uint8Array(64);
  const count = await posix.read(fd, buffer, 0);
  posix.close(fd);
  return [...buffer.subarray(0, count)];
}

interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
}

async function publish(
  posix: Posix,
  root: string,
  target: string,
  attributes: Attributes,
): Promise<unknown> {
  const temp = `${root}/temp`;
  const tempFd = posix.createTemp(temp, 0o600);
  try {
    const expect = posix.lstat(target);
    const published = await posix.publish({ temp, target, tempFd, attributes, expect });
    if (published.outcome === "failed") throw published.error;
    return [published.outcome, published.wasShown];
  } finally {
    posix.close(tempFd);
    posix.unlink(temp);
  }
}

async function evict(
  posix: Posix,
  root: string,
  target: string,
  attributes: Attributes,
): Promise<unknown> {
  const stat = posix.lstat(target);
  if (stat === null) return "nothing to evict";
  const { ino, sizeBytes, mtimeNs, ctimeNs } = stat;
  const { outcome } = await posix.putMarker({
    target,
    aside: `${root}/aside`,
    expect: { ino, sizeBytes, mtimeNs, ctimeNs },
    marker: { ...attributes, sizeBytes },
  });
  return outcome;
}

async function outcomeOf(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work ?? "done";
  } catch (error) {
    if (!(error instanceof PosixError)) throw error;
    return error.code;
  }
}

/** The whole tree, with what both must agree on; inodes by the first name that shows them. */
async function treeOf(posix: Posix, root: string): Promise<unknown[]> {
  const walk = posix.openWalk(root);
  const found: unknown[] = [];
  const inodes = new Map<bigint, string>();
  const entries = [];
  for (;;) {
    const batch = await walk.nextBatch();
    if (batch.length === 0) break;
    entries.push(...batch);
  }
  await walk.close();
  for (const entry of entries.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (entry.kind === "unreadable") {
      found.push(entry);
      continue;
    }
    const { path, kind, mode, ino } = entry;
    if (!inodes.has(ino)) inodes.set(ino, path);
    const isDirectory = kind === "directory";
    const atimeNs = kind === "socket" ? entry.atimeNs : null;
    const size = isDirectory ? null : entry.sizeBytes;
    const nlink = isDirectory ? null : entry.nlink;
    // A time of the simulated past was set by a call; one of now is the clock's.
    const mtimeNs = !isDirectory && entry.mtimeNs < 10n ** 10n ? entry.mtimeNs : "now";
    found.push({ path, kind, mode, atimeNs, size, nlink, mtimeNs, is: inodes.get(ino) });
  }
  return found;
}

Deno.test("the disk in memory answers as the kernel does, call by call", async () => {
  const seed = runSeed();
  const real = openPosix(nativeFile("libp4posix.so"));
  const directory = await Deno.makeTempDir({ prefix: "p4cache-mem-posix-" });
  const realRoot = bytePathOf(await Deno.realPath(directory));
  const disk = new MemDisk(() => BigInt(Date.now()) * 1_000_000n);
  disk.create("mkdir", "/root", "directory", 0o700);
  const mem = new MemPosix(disk);
  try {
    for (let call = 0; call < CALLS; call++) {
      const salt = (seed + call * 7919) % 2 ** 31;
      const expected = await outcomeOf(callOnce(real, realRoot, new Random(salt)));
      const found = await outcomeOf(callOnce(mem, "/root", new Random(salt)));
      deepStrictEqual(found, expected, `call ${call}`);
      if (call % 20 > 0) continue;
      deepStrictEqual(
        await treeOf(mem, "/root"),
        await treeOf(real, realRoot),
        `the tree after call ${call}`,
      );
    }
  } finally {
    real[Symbol.dispose]();
    await Deno.remove(directory, { recursive: true });
  }
});
