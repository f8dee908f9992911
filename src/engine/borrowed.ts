/**
 * Files that other instances own, read from their prefixes (`read_prefixes`).
 *
 * Only the owner's manifest knows which of several versions is current; without it the one
 * whose file was written last is taken, by the mtime that stands with each object. So a
 * borrowed file follows its owner, and never the other way round: what is written here
 * becomes this instance's own file under its own prefix.
 *
 * @module
 */

import { type DepotPath, firstVersionOf, type ObjectKey } from "../core/names.ts";
import type { FileEntry, StoredVersion } from "../manifest/manifest.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";
import { type EngineContext, firstKey, nowSeconds } from "./engine_context.ts";

/** The current version of a path in the first prefix that has one. */
export interface Borrowed {
  readonly info: ObjectInfo;
  readonly stored: StoredVersion;
}

/** Null if no other instance has the path. */
export async function lookUpBorrowed(
  context: EngineContext,
  path: DepotPath,
): Promise<Borrowed | null> {
  for (const store of context.readStores) {
    const info = await newestVersion(context, store, firstKey(path));
    if (info !== null) return { info, stored: storedOf(context, info) };
  }
  return null;
}

async function newestVersion(
  { signal }: EngineContext,
  store: StorageBackend,
  first: ObjectKey,
): Promise<ObjectInfo | null> {
  // In this order: of a file that its owner rewrites meanwhile one of the two is seen.
  let newest = await store.head(first, signal);
  for await (const { key } of store.list(`${first}.p4cv-`, signal)) {
    if (firstVersionOf(key) !== first) continue;
    const info = await store.head(key, signal);
    if (info === null) continue;
    if (newest === null || writtenNs(info) > writtenNs(newest)) newest = info;
  }
  return newest;
}

/** When the file was written that the object is of. */
function writtenNs({ metadata, storedAtMs }: ObjectInfo): bigint {
  return metadata?.mtimeNs ?? BigInt(Math.floor(storedAtMs ?? 0)) * 1_000_000n;
}

function storedOf(context: EngineContext, info: ObjectInfo): StoredVersion {
  const { key, sizeBytes, metadata, versionId } = info;
  const mtimeNs = metadata?.mtimeNs ??
    BigInt(Math.floor(info.storedAtMs ?? context.clock.nowMs())) * 1_000_000n;
  return { key, hash: metadata?.hash ?? null, sizeBytes, mtimeNs, versionId };
}

/**
 * The prefix whose object this is, as far as a HEAD tells: where the object has no hash of its
 * own, only its bytes say so. Null if none shows it any more.
 */
export async function storeOfBorrowed(
  { readStores, signal }: EngineContext,
  stored: StoredVersion,
): Promise<StorageBackend | null> {
  for (const store of readStores) {
    const info = await store.head(stored.key, signal);
    const hash = info?.metadata?.hash ?? null;
    const isIt = info !== null && info.sizeBytes === stored.sizeBytes &&
      (hash === null || hash === stored.hash);
    if (isIt) return store;
  }
  return null;
}

/**
 * The row of a borrowed file as its owner has it now, before it is restored. Null if no
 * owner has it.
 */
export async function followOwner(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<FileEntry | null> {
  const borrowed = await lookUpBorrowed(context, path);
  if (borrowed === null) return null;
  const { stored } = borrowed;
  const isSame = entry.stored?.key === stored.key && entry.stored.hash === stored.hash &&
    entry.stored.sizeBytes === stored.sizeBytes;
  if (isSame) return entry;
  const { sizeBytes, mtimeNs } = stored;
  const { entry: now } = await context.manifest.apply(path, entry.generation, {
    kind: "adopted",
    stored,
    stat: { ...entry.local, sizeBytes, mtimeNs },
    resident: entry.resident,
    flags: { borrowed: true },
    nowS: nowSeconds(context),
  });
  return now;
}
