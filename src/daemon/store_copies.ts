/**
 * Copies of the manifest in the primary store, `.p4cache-meta/manifest/<time>`: what is left
 * when the depot's disk is gone. Each is the data file of a copy that was checked, put under
 * a key of its own and never overwritten; only whole copies have such names, because a store
 * shows an object when all of it is there.
 *
 * @module
 */

import { bytePathOf, type ObjectKey, objectKeyOf } from "../core/names.ts";
import { hashOpenFile } from "../engine/local_file.ts";
import { isCopyName } from "../manifest/copies.ts";
import type { Posix } from "../posix/posix.ts";
import type { ObjectMetadata, StorageBackend } from "../storage/backend.ts";
import { StorageError } from "../storage/storage_error.ts";

const PREFIX = ".p4cache-meta/manifest/";

/** As src/manifest/copies.ts names copies: it sorts by time. */
export type CopyName = string;

function keyOf(name: CopyName): ObjectKey {
  return objectKeyOf(`${PREFIX}${name}`);
}

/** In no order. @throws {StorageError} */
export async function storeCopiesOf(
  store: StorageBackend,
  signal?: AbortSignal,
): Promise<CopyName[]> {
  const names: CopyName[] = [];
  for await (const { key } of store.list(PREFIX, signal)) {
    const name = key.slice(PREFIX.length);
    if (isCopyName(name)) names.push(name);
  }
  return names;
}

export interface StoreCopyDeps {
  readonly store: StorageBackend;
  readonly posix: Posix;
  readonly signal: AbortSignal;
}

/**
 * Puts the data file `file` of a checked copy into the store, and makes sure that the store
 * says afterwards that it has exactly these bytes. @throws {StorageError}
 */
export async function putStoreCopy(
  { store, posix, signal }: StoreCopyDeps,
  name: CopyName,
  file: string,
): Promise<void> {
  const key = keyOf(name);
  const fd = posix.openRead(bytePathOf(file));
  try {
    const { sizeBytes, mtimeNs } = posix.fstat(fd);
    const hash = await hashOpenFile(posix, fd, sizeBytes, signal);
    await putIfAbsent(store, {
      key,
      source: {
        sizeBytes,
        read: (buffer: Uint8Array, offset: number) => posix.read(fd, buffer, offset),
      },
      metadata: { hash, mtimeNs, mode: null, uid: null, gid: null, path: null },
      signal,
    });
    const info = await store.head(key, signal);
    if (info?.sizeBytes === sizeBytes && info.metadata?.hash === hash) return;
    throw new StorageError("corrupt", {
      operation: "upload",
      key,
      detail: "it is not the copy of the manifest that was sent",
    });
  } finally {
    posix.close(fd);
  }
}

/** A copy that a try before this one put there is the same: its name says when it was made. */
async function putIfAbsent(
  store: StorageBackend,
  request: Parameters<StorageBackend["upload"]>[0] & {
    readonly metadata: ObjectMetadata;
  },
): Promise<void> {
  try {
    await store.upload(request);
  } catch (error) {
    if (!(error instanceof StorageError) || error.fault !== "precondition") throw error;
  }
}

/** By exact key. */
export async function removeStoreCopy(
  { store, signal }: StoreCopyDeps,
  name: CopyName,
): Promise<void> {
  await store.delete({ key: keyOf(name), signal });
}

/**
 * Fetches a copy into the new file `target`, durably. @throws {StorageError} `corrupt` if
 * its bytes are not those that were put there.
 */
export async function fetchStoreCopy(
  { store, posix, signal }: StoreCopyDeps,
  name: CopyName,
  target: string,
): Promise<void> {
  const key = keyOf(name);
  const wanted = await store.head(key, signal);
  const fd = posix.createTemp(bytePathOf(target), 0o600);
  try {
    const { hash } = await store.download({
      key,
      sizeBytes: wanted?.sizeBytes ?? null,
      target: {
        write: (bytes, offset) => posix.write(fd, bytes, offset),
        read: (buffer, offset) => posix.read(fd, buffer, offset),
      },
      signal,
    });
    const put = wanted?.metadata?.hash ?? null;
    if (put !== null && put !== hash) {
      throw new StorageError("corrupt", {
        operation: "download",
        key,
        detail: `its bytes hash to ${hash}, ${put} was put there`,
      });
    }
    await posix.fsync(fd);
  } finally {
    posix.close(fd);
  }
}
