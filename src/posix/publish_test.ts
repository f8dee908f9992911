import { deepEqual, equal, rejects } from "node:assert/strict";
import { bytesOf } from "../core/names.ts";
import { type Brought, type ExpectedMarker, namedAfter, type Posix } from "./posix.ts";
import {
  ATTRIBUTES,
  hasCode,
  MTIME_NS,
  posixTest,
  publishText,
  readText,
  write,
} from "./posix_fixture.ts";

/** A marker that no name has. */
const NOWHERE: ExpectedMarker = { ino: 12n, mtimeNs: MTIME_NS, ctimeNs: MTIME_NS };

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
    const marker = posix.lstat(`${at}/x,v`);
    equal(await publishText(posix, at, "restored", marker), "published");
    equal(await readText(posix, `${at}/x,v`), "restored");
    equal(posix.lstat(`${at}/temp`), null, "the marker is gone");
  },
);

posixTest("publish() leaves whatever else is at the name", async (posix, at) => {
  equal(await publishText(posix, at, "restored", NOWHERE), "changed");
  equal(posix.lstat(`${at}/x,v`), null, "a removed file stays removed");
  posix.unlink(`${at}/temp`);

  await write(posix, `${at}/x,v`, "p4d's");
  equal(
    await publishText(posix, at, "restored", posix.lstat(`${at}/x,v`)),
    "changed",
    "a file is no marker, even with the marker's inode number",
  );
  equal(await readText(posix, `${at}/x,v`), "p4d's");
  posix.unlink(`${at}/temp`);
  posix.unlink(`${at}/x,v`);

  posix.makeMarker(`${at}/x,v`, { ...ATTRIBUTES, sizeBytes: 8 });
  const marker = posix.lstat(`${at}/x,v`)!;
  const { ino, mtimeNs, ctimeNs } = marker;
  const others = [
    { ino: ino + 1n, mtimeNs, ctimeNs },
    // As if that marker had been removed, and this one had its number since.
    { ino, mtimeNs: mtimeNs - 1n, ctimeNs },
    { ino, mtimeNs, ctimeNs: ctimeNs - 1n },
  ];
  for (const other of others) {
    equal(await publishText(posix, at, "restored", other), "changed");
    deepEqual(posix.lstat(`${at}/x,v`), marker);
    posix.unlink(`${at}/temp`);
  }
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
    const { outcome, wasShown } = await publishing;
    deepEqual([outcome, wasShown], ["failed", false]);
    posix.close(tempFd);
    equal(posix.lstat(`${at}/x,v`), null);
  },
);

function bringText(
  posix: Posix,
  at: string,
  text: string,
  expect: ExpectedMarker | null,
): Promise<Brought> {
  return posix.bring({
    first: `${at}/first`,
    target: `${at}/x,v`,
    bytes: bytesOf(text),
    attributes: ATTRIBUTES,
    expect,
  });
}

function namesOf(posix: Posix, at: string): string[] {
  return posix.readDirectory(at)!.map(({ path }) => path).sort();
}

posixTest(
  "bring() makes a file in the place of the marker that it was told",
  async (posix, at) => {
    posix.makeMarker(`${at}/x,v`, { ...ATTRIBUTES, sizeBytes: 8 });
    const marker = posix.lstat(`${at}/x,v`);
    const brought = await bringText(posix, at, "restored", marker);
    const stat = posix.lstat(`${at}/x,v`)!;
    deepEqual(brought, {
      outcome: "published",
      stat,
      wasShown: true,
      shownCtimeNs: stat.ctimeNs,
    });
    const { mode, mtimeNs, sizeBytes } = posix.lstat(`${at}/x,v`)!;
    deepEqual([mode, mtimeNs, sizeBytes], [0o640, MTIME_NS, 8]);
    equal(await readText(posix, `${at}/x,v`), "restored");
    deepEqual(namesOf(posix, at), ["x,v"], "neither our name nor a note is left");
  },
);

posixTest("bring() gives a free name to an empty file", async (posix, at) => {
  equal((await bringText(posix, at, "", null)).outcome, "published");
  equal(posix.lstat(`${at}/x,v`)!.sizeBytes, 0);
});

posixTest("bring() leaves its file beside a name that is taken", async (posix, at) => {
  await write(posix, `${at}/x,v`, "p4d's");
  for (const [expect, outcome] of [[null, "occupied"], [NOWHERE, "changed"]] as const) {
    const brought = await bringText(posix, at, "restored", expect);
    deepEqual([brought.outcome, brought.wasShown], [outcome, false]);
    const left = brought.outcome === outcome ? brought.stat.ino : 0n;
    const name = namedAfter(`${at}/first`, left);
    deepEqual(namesOf(posix, at), [name.slice(at.length + 1), "x,v"]);
    equal(await readText(posix, name), "restored");
    posix.unlink(name);
  }
  equal(await readText(posix, `${at}/x,v`), "p4d's");
});

posixTest("bring() says which file it made when it fails", async (posix, at) => {
  const nowhere = await posix.bring({
    first: `${at}/no/first`,
    target: `${at}/x,v`,
    bytes: bytesOf("restored"),
    attributes: ATTRIBUTES,
    expect: null,
  });
  equal(nowhere.outcome === "failed" && nowhere.ino, null);
  const misled = await posix.bring({
    first: `${at}/first`,
    target: `${at}/no/x,v`,
    bytes: bytesOf("restored"),
    attributes: ATTRIBUTES,
    expect: null,
  });
  const ino = misled.outcome === "failed" ? misled.ino : null;
  deepEqual([nowhere.wasShown, misled.wasShown], [false, false]);
  equal(posix.lstat(namedAfter(`${at}/first`, ino!))!.ino, ino);
});

posixTest("createNamed() makes a file whose name tells its inode", async (posix, at) => {
  const { fd, ino } = await posix.createNamed(`${at}/first`);
  equal(posix.lstat(namedAfter(`${at}/first`, ino))!.ino, posix.fstat(fd).ino);
  posix.close(fd);
  await rejects(posix.createNamed(`${at}/no/first`), hasCode("ENOENT"));
});

posixTest("readFile() reads a regular file, as far as it is told", async (posix, at) => {
  await write(posix, `${at}/a`, "content");
  for (const bytesMax of [0, 3, 7, 100]) {
    const { stat, bytes } = await posix.readFile(`${at}/a`, new Uint8Array(bytesMax));
    equal(String.fromCharCode(...bytes), "content".slice(0, bytesMax));
    deepEqual([stat.ino, stat.sizeBytes], [posix.lstat(`${at}/a`)!.ino, 7]);
  }
  const memory = new Uint8Array(10);
  await rejects(posix.readFile(at, memory), hasCode("EISDIR"));
  await rejects(posix.readFile(`${at}/none`, memory), hasCode("ENOENT"));
  posix.makeMarker(`${at}/marker`, { ...ATTRIBUTES, sizeBytes: 8 });
  await rejects(posix.readFile(`${at}/marker`, memory), hasCode("ENXIO"));
});
