/**
 * Reads a stored file, whole, in order, with its hash.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";
import type { ObjectKey } from "../../core/names.ts";
import type { DownloadRequest } from "../backend.ts";
import { createContentHasher } from "../hashing.ts";
import { TRANSFER_CHUNK_BYTES } from "../source_reader.ts";
import type { StorageOperation } from "../storage_error.ts";
import type { NfsDirectory } from "./nfs_directory.ts";
import { fault } from "./nfs_errors.ts";

/** Between two calls of onProgress, in milliseconds. */
const PROGRESS_MS = 1_000;

export interface Reading {
  readonly operation: StorageOperation;
  readonly key: ObjectKey;
  /** Absolute. */
  readonly path: string;
  /** Where the bytes go, and how many are wanted; null: the hash is all that is. */
  readonly request: DownloadRequest | null;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** @throws {StorageError} `corrupt` if the file is not as long as wanted, or ends early. */
export async function readWhole(
  directory: NfsDirectory,
  reading: Reading,
): Promise<{ hash: string; stat: Deno.FileInfo }> {
  const { operation, key, path, request, signal } = reading;
  const file = await directory.openRead(path, signal);
  try {
    const stat = await directory.stat(file, signal);
    const wanted = request?.sizeBytes ?? stat.size;
    if (stat.size !== wanted) {
      const detail = `it has ${stat.size} bytes, ${wanted} are wanted`;
      throw fault("corrupt", operation, key, detail);
    }
    const hash = await readInto(directory, file, stat.size, reading);
    if (hash === null) {
      throw fault("corrupt", operation, key, `it ended before its ${stat.size} bytes`);
    }
    return { hash, stat };
  } finally {
    file.close();
  }
}

/** Null if the file ends before `total` bytes. */
async function readInto(
  directory: NfsDirectory,
  file: Deno.FsFile,
  total: number,
  { request, clock, signal }: Reading,
): Promise<string | null> {
  const hasher = createContentHasher();
  const buffer = new Uint8Array(Math.min(TRANSFER_CHUNK_BYTES, total));
  let toldAtMs = clock.monotonicMs();
  for (let offset = 0; offset < total;) {
    signal?.throwIfAborted();
    const room = buffer.subarray(0, Math.min(buffer.length, total - offset));
    const count = await directory.read(file, room, signal);
    if (count === null) return null;
    hasher.update(room.subarray(0, count));
    await request?.target.write(room.subarray(0, count), offset);
    offset += count;
    const nowMs = clock.monotonicMs();
    if (nowMs - toldAtMs < PROGRESS_MS && offset < total) continue;
    request?.onProgress?.(offset, total);
    toldAtMs = nowMs;
  }
  signal?.throwIfAborted();
  return hasher.digestHex();
}
