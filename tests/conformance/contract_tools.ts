/**
 * What the tests of the storage contract share.
 *
 * @module
 */

import { ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type {
  ObjectInfo,
  ObjectMetadata,
  StorageBackend,
} from "../../src/storage/backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { hashOf, MemoryTarget, metadataOf, sourceOf } from "./test_bytes.ts";

/** Registers a test that gets an empty store, and the length of what it puts before keys. */
export type Test = (
  sentence: string,
  body: (backend: StorageBackend, prefixBytes: number) => Promise<void>,
) => void;

export const MIB = 1_048_576;

export const KEY = objectKeyOf("depot/main/foo.c,v");

export async function put(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  bytes: Uint8Array,
  more: { metadata?: ObjectMetadata; ifAbsent?: boolean } = {},
): Promise<ObjectInfo> {
  return await backend.upload({
    key,
    source: sourceOf(bytes),
    metadata: more.metadata ?? metadataOf(bytes),
    ...(more.ifAbsent === undefined ? {} : { ifAbsent: more.ifAbsent }),
  });
}

export async function get(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  sizeBytes: number,
  ifMatch: string | null = null,
): Promise<void> {
  // A directory has a way of its own for these.
  const withoutMetadata = backend.name === "nfs";
  const target = new MemoryTarget();
  await backend.download({ key, target, sizeBytes, ifMatch, withoutMetadata });
}

export async function expectContent(
  backend: StorageBackend,
  key: ReturnType<typeof objectKeyOf>,
  bytes: Uint8Array,
  ifMatch: string | null = null,
): Promise<void> {
  const sizeBytes = bytes.length;
  for (const withoutMetadata of [false, true]) {
    const target = new MemoryTarget();
    const asked = { key, target, sizeBytes, ifMatch, withoutMetadata };
    const { hash, info } = await backend.download(asked);
    target.expect(bytes);
    strictEqual(hash, hashOf(bytes), "the hash that download() told");
    strictEqual(info.sizeBytes, bytes.length);
  }
}

export async function keysOf(backend: StorageBackend, prefix: string): Promise<string[]> {
  const infos = await Array.fromAsync(backend.list(prefix));
  return infos.map((info) => info.key as string).sort();
}

/** Sixteen at a time: the servers are real, and the lists long. */
export async function inBatches<T>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  for (let i = 0; i < items.length; i += 16) {
    await Promise.all(items.slice(i, i + 16).map((item, j) => work(item, i + j)));
  }
}

export async function rejectsAs(
  fault: StorageFault,
  body: () => Promise<unknown>,
): Promise<void> {
  await rejects(body, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    strictEqual(error.fault, fault, error.message);
    return true;
  });
}
