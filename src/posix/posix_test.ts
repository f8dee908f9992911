import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import { bytesOf } from "../core/names.ts";
import { PosixError } from "./posix.ts";
import {
  ATTRIBUTES,
  hasCode,
  MTIME_NS,
  posixTest,
  readText,
  write,
} from "./posix_fixture.ts";

// ---- names --------------------------------------------------------------------------------

posixTest(
  "lstat() tells kinds and fields, and null for what is not there",
  async (posix, at) => {
    await write(posix, `${at}/file`, "12345");
    posix.setTimes(`${at}/file`, { atimeNs: 5n, mtimeNs: MTIME_NS });
    posix.chmod(`${at}/file`, 0o4751);
    const stat = posix.lstat(`${at}/file`)!;
    equal(stat.kind, "file");
    equal(stat.sizeBytes, 5);
    equal(stat.mode, 0o4751);
    equal(stat.mtimeNs, MTIME_NS);
    equal(stat.atimeNs, 5n);
    equal(stat.nlink, 1);
    equal(stat.uid, Deno.uid());
    const known = await Deno.lstat(`${at}/file`);
    equal(stat.ino, BigInt(known.ino!));
    equal(stat.dev, BigInt(known.dev));
    equal(stat.blocks, known.blocks);

    await Deno.symlink("file", `${at}/link`);
    equal(posix.lstat(`${at}/link`)!.kind, "symlink");
    equal(posix.lstat(at)!.kind, "directory");
    equal(posix.lstat("/dev/null")!.kind, "other");
    equal(posix.lstat(`${at}/none`), null);
    equal(posix.lstat(`${at}/file/below`), null);
    throws(() => posix.lstat(`${at}/${"n".repeat(300)}`), hasCode("ENAMETOOLONG"));
  },
);

posixTest("names of any bytes are reached", async (posix, at) => {
  const name = "\xe9\xff\x01\x80,v";
  await write(posix, `${at}/${name}`, "x");
  deepEqual(posix.readDirectory(at)!.map((entry) => entry.path), [name]);
  equal(posix.unlink(`${at}/${name}`), true);
  equal(posix.unlink(`${at}/${name}`), false);
});

posixTest("a path with a NUL is a bug, not another file", async (posix, at) => {
  await write(posix, `${at}/a`, "x");
  throws(() => posix.unlink(`${at}/a\0b`));
  throws(() => posix.lstat(`${at}/\u0100`));
  equal(posix.lstat(`${at}/a`)!.kind, "file");
});

posixTest("makeDirs() makes what is missing, and not over a file", async (posix, at) => {
  posix.makeDirs(`${at}/a/b/c`, 0o700);
  posix.makeDirs(`${at}/a/b/c`, 0o700);
  equal(posix.lstat(`${at}/a/b`)!.mode, 0o700);
  await write(posix, `${at}/a/f`, "x");
  throws(() => posix.makeDirs(`${at}/a/f/g`, 0o700), hasCode("ENOTDIR"));
  throws(() => posix.rmdir(`${at}/a`), hasCode("ENOTEMPTY"));
  posix.rmdir(`${at}/a/b/c`);
  equal(posix.lstat(`${at}/a/b/c`), null);
});

posixTest("renames say whether the name was taken", async (posix, at) => {
  await write(posix, `${at}/a`, "a");
  await write(posix, `${at}/b`, "b");
  equal(posix.renameNoReplace(`${at}/a`, `${at}/b`), false);
  equal(posix.link(`${at}/a`, `${at}/b`), false);
  posix.exchange(`${at}/a`, `${at}/b`);
  equal(await readText(posix, `${at}/a`), "b");
  equal(posix.renameNoReplace(`${at}/a`, `${at}/c`), true);
  equal(posix.link(`${at}/c`, `${at}/d`), true);
  equal(posix.lstat(`${at}/d`)!.nlink, 2);
  posix.rename(`${at}/b`, `${at}/c`);
  equal(await readText(posix, `${at}/c`), "a");
  throws(() => posix.exchange(`${at}/c`, `${at}/none`), hasCode("ENOENT"));
});

posixTest(
  "setTimes() keeps what is null, and does not follow a link",
  async (posix, at) => {
    await write(posix, `${at}/file`, "x");
    posix.setTimes(`${at}/file`, { atimeNs: 7n, mtimeNs: -1n });
    posix.setTimes(`${at}/file`, { atimeNs: null, mtimeNs: MTIME_NS });
    await Deno.symlink("file", `${at}/link`);
    posix.setTimes(`${at}/link`, { atimeNs: 9n, mtimeNs: null });
    equal(posix.lstat(`${at}/file`)!.atimeNs, 7n);
    equal(posix.lstat(`${at}/file`)!.mtimeNs, MTIME_NS);
    posix.setTimes(`${at}/file`, { atimeNs: null, mtimeNs: -1n });
    equal(posix.lstat(`${at}/file`)!.mtimeNs, -1n);
  },
);

posixTest("statvfs() gives bytes", (posix, at) => {
  const { totalBytes, freeBytes } = posix.statvfs(at);
  ok(freeBytes > 0 && freeBytes < totalBytes);
});

posixTest("chmod() and chown() are of the name itself", async (posix, at) => {
  await write(posix, `${at}/file`, "x");
  posix.chmod(`${at}/file`, 0o600);
  await Deno.symlink("file", `${at}/link`);
  throws(() => posix.chmod(`${at}/link`, 0o777), hasCode("EOPNOTSUPP"));
  equal(posix.lstat(`${at}/file`)!.mode, 0o600);
  if (Deno.uid() !== 0) {
    // deno-lint-ignore no-console -- a skip prints its reason
    console.log("skipped: the part that gives files away, which is root's");
    return;
  }
  posix.chown(`${at}/link`, 65_534, 4_000_000_000);
  const { uid, gid } = posix.lstat(`${at}/link`)!;
  deepEqual([uid, gid], [65_534, 4_000_000_000]);
  equal(posix.lstat(`${at}/file`)!.uid, 0);
  posix.makeMarker(`${at}/marker`, { ...ATTRIBUTES, uid: 12, gid: 34, sizeBytes: 5 });
  const marker = posix.lstat(`${at}/marker`)!;
  deepEqual([marker.uid, marker.gid, marker.mode], [12, 34, 0o640]);
});

// ---- open files ---------------------------------------------------------------------------

posixTest("openRead() opens regular files only, and never waits", async (posix, at) => {
  posix.makeMarker(`${at}/marker`, { ...ATTRIBUTES, sizeBytes: 3 });
  throws(() => posix.openRead(`${at}/marker`), hasCode("ENXIO"));
  await write(posix, `${at}/file`, "x");
  await Deno.symlink("file", `${at}/link`);
  throws(() => posix.openRead(`${at}/link`), hasCode("ELOOP"));
  throws(() => posix.openRead(at), hasCode("EISDIR"));
  throws(() => posix.openRead(`${at}/none`), hasCode("ENOENT"));
  equal((await new Deno.Command("mkfifo", { args: [`${at}/fifo`] }).output()).code, 0);
  throws(() => posix.openRead(`${at}/fifo`), PosixError);
  throws(() => posix.openRead("/dev/null"), PosixError);
});

posixTest("what is written at an offset is read back there", async (posix, at) => {
  const fd = posix.createTemp(`${at}/file`, 0o600);
  const blocks = Array.from({ length: 32 }, (_, i) => new Uint8Array(4096).fill(i + 1));
  await Promise.all(blocks.map((block, i) => posix.write(fd, block, i * 4096)));
  await posix.fdatasync(fd);
  const back = new Uint8Array(32 * 4096 + 10);
  equal(await posix.read(fd, back, 0), 32 * 4096, "fewer bytes at the end");
  for (let i = 0; i < 32; i++) {
    deepEqual(back.subarray(i * 4096, (i + 1) * 4096), blocks[i]);
  }
  equal(await posix.read(fd, back, 1 << 20), 0);
  // A view in the middle of a larger buffer is that view.
  const whole = new Uint8Array(300).fill(9);
  equal(posix.readSync(fd, whole.subarray(100, 200), 4096), 100);
  deepEqual([whole[99], whole[100], whole[199], whole[200]], [9, 2, 2, 9]);
  posix.truncate(fd, 2 ** 40);
  await posix.write(fd, bytesOf("end"), 2 ** 40);
  equal(posix.fstat(fd).sizeBytes, 2 ** 40 + 3);
  await posix.fsync(fd);
  posix.close(fd);
  await posix.fsyncPath(`${at}/file`);
  await posix.fsyncPath(at);
  throws(() => posix.createTemp(`${at}/file`, 0o600), hasCode("EEXIST"));
});

posixTest("a failed call names its code, its number and its path", async (posix, at) => {
  throws(() => posix.rmdir(`${at}/\xe9`), (error) => {
    ok(error instanceof PosixError);
    deepEqual([error.code, error.errno, error.path], ["ENOENT", 2, `${at}/\xe9`]);
    match(error.message, /ENOENT/);
    return true;
  });
  await rejects(posix.read(-1, new Uint8Array(200), 0), hasCode("EBADF"));
  await rejects(posix.fsync(-1), hasCode("EBADF"));
  await rejects(posix.fsyncPath(`${at}/none`), hasCode("ENOENT"));
});

// ---- markers ------------------------------------------------------------------------------

posixTest(
  "a marker carries mode, owner, mtime, and its size in the atime",
  (posix, at) => {
    for (const sizeBytes of [0, 1, 4096, 2 ** 32, 2 ** 48 - 1]) {
      const path = `${at}/${sizeBytes}`;
      posix.makeMarker(path, { ...ATTRIBUTES, mode: 0o4444, sizeBytes });
      const stat = posix.lstat(path)!;
      equal(stat.kind, "socket");
      equal(stat.mode, 0o4444);
      equal(stat.mtimeNs, MTIME_NS);
      equal(decodeMarkerAtimeNs(stat.atimeNs), sizeBytes);
    }
  },
);

posixTest("makeMarker() refuses a size that does not fit", (posix, at) => {
  throws(
    () => posix.makeMarker(`${at}/x`, { ...ATTRIBUTES, sizeBytes: 2 ** 48 }),
    hasCode("EFBIG"),
  );
  equal(posix.lstat(`${at}/x`), null);
});

posixTest("makeMarker() leaves what is there alone", async (posix, at) => {
  await write(posix, `${at}/file`, "x");
  const make = (): void =>
    posix.makeMarker(`${at}/file`, { ...ATTRIBUTES, sizeBytes: 1 });
  throws(make, hasCode("EEXIST"));
  equal(await readText(posix, `${at}/file`), "x");
});

posixTest(
  "hasWriter() is true while somebody has the file open for writing",
  async (posix, at) => {
    await write(posix, `${at}/file`, "x");
    equal(posix.hasWriter(`${at}/file`), false);
    const reader = posix.openRead(`${at}/file`);
    equal(posix.hasWriter(`${at}/file`), false);
    using writer = await Deno.open(`${at}/file`, { append: true });
    equal(posix.hasWriter(`${at}/file`), true);
    writer.close();
    equal(posix.hasWriter(`${at}/file`), false);
    posix.close(reader);
  },
);
