import { deepEqual, equal, rejects } from "node:assert/strict";
import { PosixError } from "./posix.ts";
import {
  ATTRIBUTES,
  MTIME_NS,
  posixTest,
  publishText,
  readText,
  write,
} from "./posix_fixture.ts";

posixTest("publish() gives a free name, with attributes", async (posix, at) => {
  equal(await publishText(posix, at, "restored", null), "published");
  const stat = posix.lstat(`${at}/x,v`)!;
  deepEqual(
    [stat.kind, stat.mode, stat.mtimeNs, stat.nlink],
    ["file", 0o640, MTIME_NS, 1],
  );
  equal(posix.lstat(`${at}/temp`), null);
});

posixTest("publish() does not take a name that is taken", async (posix, at) => {
  await write(posix, `${at}/x,v`, "p4d's");
  equal(await publishText(posix, at, "restored", null), "occupied");
  equal(await readText(posix, `${at}/x,v`), "p4d's");
});

posixTest(
  "publish() takes the place of the marker that it was told",
  async (posix, at) => {
    posix.makeMarker(`${at}/x,v`, { ...ATTRIBUTES, sizeBytes: 8 });
    const { ino } = posix.lstat(`${at}/x,v`)!;
    equal(await publishText(posix, at, "restored", ino), "published");
    equal(await readText(posix, `${at}/x,v`), "restored");
    equal(posix.lstat(`${at}/temp`), null, "the marker is gone");
  },
);

posixTest("publish() leaves whatever else is at the name", async (posix, at) => {
  equal(await publishText(posix, at, "restored", 12n), "changed");
  equal(posix.lstat(`${at}/x,v`), null, "a removed file stays removed");
  posix.unlink(`${at}/temp`);

  await write(posix, `${at}/x,v`, "p4d's");
  equal(
    await publishText(posix, at, "restored", posix.lstat(`${at}/x,v`)!.ino),
    "changed",
    "a file is no marker, even with the marker's inode number",
  );
  equal(await readText(posix, `${at}/x,v`), "p4d's");
  posix.unlink(`${at}/temp`);
  posix.unlink(`${at}/x,v`);

  posix.makeMarker(`${at}/x,v`, { ...ATTRIBUTES, sizeBytes: 8 });
  const { ino } = posix.lstat(`${at}/x,v`)!;
  equal(await publishText(posix, at, "restored", ino + 1n), "changed");
  equal(posix.lstat(`${at}/x,v`)!.ino, ino);
});

posixTest(
  "publish() refuses a temp that is not the file that was written",
  async (posix, at) => {
    await write(posix, `${at}/temp`, "another");
    const tempFd = posix.createTemp(`${at}/written`, 0o600);
    const publishing = posix.publish({
      temp: `${at}/temp`,
      target: `${at}/x,v`,
      tempFd,
      attributes: ATTRIBUTES,
      expect: null,
    });
    await rejects(publishing, PosixError);
    posix.close(tempFd);
    equal(posix.lstat(`${at}/x,v`), null);
  },
);
