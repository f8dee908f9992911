/**
 * What the tests of this folder share: a directory, files in it, and the two composite calls
 * on `x,v` in it.
 *
 * @module
 */

import { equal, ok } from "node:assert/strict";
import { bytePathOf, bytesOf } from "../core/names.ts";
import { nativeFile } from "./native_files.ts";
import {
  type EvictResult,
  type ExpectedFile,
  type ExpectedMarker,
  openPosix,
  type Posix,
  PosixError,
  type PublishResult,
} from "./posix.ts";

export const MTIME_NS = 1_234_567_890_123_456_789n;
export const ATTRIBUTES = {
  mode: 0o640,
  uid: Deno.uid()!,
  gid: Deno.gid()!,
  mtimeNs: MTIME_NS,
};

export function posixTest(
  name: string,
  run: (posix: Posix, directory: string) => void | Promise<void>,
): void {
  Deno.test(name, async () => {
    // Beside the library, because /tmp may be a tmpfs, which is no place for a depot.
    const library = nativeFile("libp4posix.so");
    const dir = await Deno.realPath(library.replace(/\/[^/]*$/, ""));
    const directory = await Deno.makeTempDir({ dir, prefix: "posix-test-" });
    using posix = openPosix(library);
    try {
      await run(posix, bytePathOf(directory));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

export function hasCode(code: string): (error: unknown) => boolean {
  return (error) => {
    ok(error instanceof PosixError, String(error));
    equal(error.code, code);
    return true;
  };
}

export async function write(posix: Posix, path: string, text: string): Promise<void> {
  const fd = posix.createTemp(path, 0o600);
  await posix.write(fd, bytesOf(text), 0);
  posix.close(fd);
}

export async function readText(posix: Posix, path: string): Promise<string> {
  const fd = posix.openRead(path);
  const buffer = new Uint8Array(posix.fstat(fd).sizeBytes);
  const count = await posix.read(fd, buffer, 0);
  posix.close(fd);
  return String.fromCharCode(...buffer.subarray(0, count));
}

export function expectedOf(posix: Posix, path: string): ExpectedFile {
  const { ino, sizeBytes, mtimeNs, ctimeNs } = posix.lstat(path)!;
  return { ino, sizeBytes, mtimeNs, ctimeNs };
}

/** A restored file `text` at `temp`, published; `temp` closed. */
export async function publishText(
  posix: Posix,
  at: string,
  text: string,
  expect: ExpectedMarker | null,
): Promise<PublishResult> {
  const temp = `${at}/temp`;
  const tempFd = posix.createTemp(temp, 0o600);
  try {
    await posix.write(tempFd, bytesOf(text), 0);
    const published = await posix.publish({
      temp,
      target: `${at}/x,v`,
      tempFd,
      attributes: ATTRIBUTES,
      expect,
    });
    if (published.outcome === "failed") throw published.error;
    return published.outcome;
  } finally {
    posix.close(tempFd);
  }
}

/** Evicts `x,v`, by way of `aside`. */
export async function evict(
  posix: Posix,
  at: string,
  expect: ExpectedFile,
): Promise<EvictResult["outcome"]> {
  const { outcome } = await posix.putMarker({
    target: `${at}/x,v`,
    aside: `${at}/aside`,
    expect,
    marker: { ...ATTRIBUTES, sizeBytes: expect.sizeBytes },
  });
  return outcome;
}
