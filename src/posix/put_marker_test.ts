import { deepEqual, equal, rejects } from "node:assert/strict";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import { bytesOf } from "../core/names.ts";
import type { ExpectedFile } from "./posix.ts";
import {
  ATTRIBUTES,
  evict,
  expectedOf,
  hasCode,
  posixTest,
  readText,
  write,
} from "./posix_fixture.ts";

posixTest("putMarker() leaves a marker, and readers their file", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  const reader = posix.openRead(`${at}/x,v`);
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "evicted");
  const stat = posix.lstat(`${at}/x,v`)!;
  equal(stat.kind, "socket");
  equal(decodeMarkerAtimeNs(stat.atimeNs), 7);
  equal(posix.lstat(`${at}/aside`), null);
  const buffer = new Uint8Array(7);
  equal(await posix.read(reader, buffer, 0), 7);
  equal(String.fromCharCode(...buffer), "content");
  posix.close(reader);
});

posixTest("putMarker() leaves a file that somebody writes", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  using writer = await Deno.open(`${at}/x,v`, { append: true });
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "busy");
  equal(await readText(posix, `${at}/x,v`), "content");
  equal(posix.lstat(`${at}/aside`), null);
  await writer.write(bytesOf("+"));
});

posixTest("putMarker() leaves a file that differs in anything", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  const right = expectedOf(posix, `${at}/x,v`);
  const wrong: ExpectedFile[] = [
    { ...right, ino: right.ino + 1n },
    { ...right, sizeBytes: right.sizeBytes + 1 },
    { ...right, mtimeNs: right.mtimeNs + 1n },
    { ...right, ctimeNs: right.ctimeNs + 1n },
  ];
  for (const expect of wrong) equal(await evict(posix, at, expect), "changed");
  posix.link(`${at}/x,v`, `${at}/other`);
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "changed", "two names");
  equal(await readText(posix, `${at}/x,v`), "content");
  equal(posix.lstat(`${at}/aside`), null);

  posix.unlink(`${at}/x,v`);
  equal(await evict(posix, at, right), "changed", "nothing there");
  await Deno.symlink("other", `${at}/x,v`);
  equal(await evict(posix, at, right), "changed", "a link");
  equal(posix.lstat(`${at}/x,v`)!.kind, "symlink");
  equal(await readText(posix, `${at}/other`), "content");
});

posixTest("putMarker() does not take an aside that is taken", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  await write(posix, `${at}/aside`, "left by a crash");
  await rejects(evict(posix, at, expectedOf(posix, `${at}/x,v`)), hasCode("EEXIST"));
  equal(await readText(posix, `${at}/aside`), "left by a crash");
  equal(await readText(posix, `${at}/x,v`), "content");
});

posixTest("putMarker() leaves a file that is mapped for writing", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  // Python's own mmap keeps a descriptor. This one has none, and lives until its standard input ends.
  const mapper = new Deno.Command("python3", {
    args: [
      "-c",
      `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
fd = os.open(sys.argv[1], os.O_RDWR)
if libc.mmap(None, 7, 1 | 2, 1, fd, 0) == ctypes.c_void_p(-1).value:
    sys.exit("mmap failed")
os.close(fd)
os.write(1, b"mapped\\n")
sys.stdin.read()
`,
      `${at}/x,v`,
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = mapper.stdout.getReader();
  equal(new TextDecoder().decode((await reader.read()).value), "mapped\n");
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "busy");
  await mapper.stdin.close();
  await reader.cancel();
  await mapper.status;
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "evicted");
});

posixTest("putMarker() gives the marker what it was told", async (posix, at) => {
  await write(posix, `${at}/x,v`, "content");
  equal(await evict(posix, at, expectedOf(posix, `${at}/x,v`)), "evicted");
  const { mode, mtimeNs, uid, gid } = posix.lstat(`${at}/x,v`)!;
  deepEqual({ mode, mtimeNs, uid, gid }, ATTRIBUTES);
});
