/**
 * Looks at the local file of a path, and hashes it.
 *
 * @module
 */

import { type DepotPath } from "../core/names.ts";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import { type FileStat, type Posix, PosixError } from "../posix/posix.ts";
import { createContentHasher } from "../storage/hashing.ts";
import {
  absolute,
  type EngineContext,
  isUnchanged,
  localStatOf,
} from "./engine_context.ts";
import type { LocalStat } from "../manifest/manifest.ts";
import type { Look } from "./observe_plan.ts";

const HASH_CHUNK_BYTES = 1_048_576;

/** What openRead() says of a name at which no regular file is (any more). */
const NOT_A_FILE: readonly string[] = [
  "ENOENT",
  "ENOTDIR",
  "ENXIO",
  "ELOOP",
  "EISDIR",
  "EINVAL",
];

/** What lies at `path` now. */
export function lookAt(context: EngineContext, path: DepotPath): Look {
  const stat = context.posix.lstat(absolute(context, path));
  return stat === null && isBelowOtherDevice(context, path)
    ? { kind: "elsewhere" }
    : lookOf(context, stat);
}

/** Whether the name is empty, on whatever file system. */
export function isAbsent(context: EngineContext, path: DepotPath): boolean {
  return context.posix.lstat(absolute(context, path)) === null;
}

/** Of a missing name: by the nearest directory that is there. */
function isBelowOtherDevice(
  { posix, root, device }: EngineContext,
  path: string,
): boolean {
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
    const stat = posix.lstat(`${root}/${path.slice(0, end)}`);
    if (stat !== null) return stat.dev !== device;
  }
  return posix.lstat(root)?.dev !== device;
}

export function lookOf(context: EngineContext, stat: FileStat | null): Look {
  if (stat === null) return { kind: "absent" };
  if (stat.dev !== context.device) return { kind: "elsewhere" };
  if (stat.kind === "file") return { kind: "file", stat: localStatOf(stat) };
  if (stat.kind !== "socket") return { kind: "other" };
  const sizeBytes = decodeMarkerAtimeNs(stat.atimeNs);
  if (sizeBytes === null) return { kind: "other" };
  return { kind: "marker", stat: { ...localStatOf(stat), sizeBytes }, sizeBytes };
}

/** BLAKE3-256 of the first `sizeBytes` of an open file, as lower-case hex. */
export async function hashOpenFile(
  posix: Posix,
  fd: number,
  sizeBytes: number,
  signal?: AbortSignal,
): Promise<string> {
  const hasher = createContentHasher();
  const buffer = new Uint8Array(Math.max(1, Math.min(HASH_CHUNK_BYTES, sizeBytes)));
  for (let offset = 0; offset < sizeBytes;) {
    signal?.throwIfAborted();
    const room = buffer.subarray(0, Math.min(buffer.length, sizeBytes - offset));
    const count = await posix.read(fd, room, offset);
    if (count === 0) break;
    hasher.update(room.subarray(0, count));
    offset += count;
  }
  return hasher.digestHex();
}

/**
 * The hash of the very file that was seen at `path`; null if another one has the name by now,
 * or if it was written meanwhile: what was hashed is then not what `seen` tells of.
 */
export async function hashFile(
  context: EngineContext,
  path: DepotPath,
  seen: LocalStat,
): Promise<string | null> {
  const { posix } = context;
  let fd: number;
  try {
    fd = posix.openRead(absolute(context, path));
  } catch (error) {
    // Too many open files, an I/O error: not knowing the hash is not another hash.
    if (!(error instanceof PosixError) || !NOT_A_FILE.includes(error.code)) throw error;
    return null;
  }
  try {
    const isSeen = (): boolean => isUnchanged(localStatOf(posix.fstat(fd)), seen);
    if (!isSeen()) return null;
    const hash = await hashOpenFile(posix, fd, seen.sizeBytes, context.signal);
    return isSeen() ? hash : null;
  } finally {
    posix.close(fd);
  }
}
