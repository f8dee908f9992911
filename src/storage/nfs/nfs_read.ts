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
    const looking = directory.stat(file, signal);
    const wanted = request?.sizeBytes ?? (await looking).size;
    const stated = looking.then((stat) => {
      if (stat.size === wanted) return stat;
      const detail = `it has ${stat.size} bytes, ${wanted} are wanted`;
      throw fault("corrupt", operation, key, detail);
    });
    stated.catch(() => {});
    const hash = await readInto(directory, file, { wanted, stated }, reading);
    const stat = await stated;
    if (hash === null) {
      throw fault("corrupt", operation, key, `it ended before its ${stat.size} bytes`);
    }
    return { hash, stat };
  } finally {
    file.close();
  }
}

/**
 * Null if the file ends before the bytes that are wanted. The first chunk is fetched while
 * the file is asked for its size, and each next one while this one is hashed and written:
 * mount and local disk work at the same time.
 */
async function readInto(
  directory: NfsDirectory,
  file: Deno.FsFile,
  { wanted: total, stated }: {
    readonly wanted: number;
    /** Nothing is given away before it says that the file is as long as wanted. */
    readonly stated: Promise<unknown>;
  },
  { request, clock, signal }: Reading,
): Promise<string | null> {
  const hasher = createContentHasher();
  const size = Math.min(TRANSFER_CHUNK_BYTES, total);
  const buffers = [new Uint8Array(size), new Uint8Array(size)] as const;
  const fetchInto = (buffer: Uint8Array, at: number): Promise<number | null> => {
    const room = buffer.subarray(0, Math.min(size, total - at));
    const next = directory.read(file, room, signal);
    // Waited for below, unless the write before it fails first.
    next.catch(() => {});
    return next;
  };
  let toldAtMs = clock.monotonicMs();
  let offset = 0;
  let next = total === 0 ? null : fetchInto(buffers[0], 0);
  await stated;
  for (let turn = 0; next !== null; turn ^= 1) {
    const count = await next;
    if (count === null) return null;
    const bytes = buffers[turn === 0 ? 0 : 1].subarray(0, count);
    const end = offset + count;
    next = end < total ? fetchInto(buffers[turn === 0 ? 1 : 0], end) : null;
    hasher.update(bytes);
    await request?.target.write(bytes, offset);
    signal?.throwIfAborted();
    offset = end;
    const nowMs = clock.monotonicMs();
    if (nowMs - toldAtMs < PROGRESS_MS && offset < total) continue;
    request?.onProgress?.(offset, total);
    toldAtMs = nowMs;
  }
  return offset === total ? hasher.digestHex() : null;
}
