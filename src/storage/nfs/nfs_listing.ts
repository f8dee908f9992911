/**
 * Lists the objects of a store that is a directory.
 *
 * @module
 */

import type { ObjectInfo } from "../backend.ts";
import { joined, type NfsDirectory } from "./nfs_directory.ts";
import {
  keyOfStoredPath,
  keyPrefixOf,
  SIDECAR_DIRECTORY,
  TEMPORARY_DIRECTORY,
} from "./nfs_keys.ts";
import { infoOf } from "./nfs_metadata.ts";

/** How many files of a directory are looked at together. */
const BATCH = 32;

export interface Listing {
  /** Of the keys that are wanted. */
  readonly prefix: string;
  readonly signal: AbortSignal | undefined;
}

/** Below `start`, a directory of the store, "" for all. Without metadata and ETags. */
export async function* listObjects(
  directory: NfsDirectory,
  start: string,
  listing: Listing,
): AsyncGenerator<ObjectInfo> {
  const { prefix, signal } = listing;
  const files: string[] = [];
  for (const entry of await directory.entries(joined(directory.path, start), signal)) {
    const stored = start === "" ? entry.name : `${start}/${entry.name}`;
    if (stored === TEMPORARY_DIRECTORY || stored === SIDECAR_DIRECTORY) continue;
    if (entry.isDirectory && mayHold(stored, prefix)) {
      yield* listObjects(directory, stored, listing);
    }
    if (entry.isFile) files.push(stored);
  }
  for (let i = 0; i < files.length; i += BATCH) {
    signal?.throwIfAborted();
    const batch = files.slice(i, i + BATCH);
    const infos = await Promise.all(
      batch.map((stored) => listed(directory, stored, listing)),
    );
    for (const info of infos) if (info !== null) yield info;
  }
}

async function listed(
  directory: NfsDirectory,
  stored: string,
  { prefix, signal }: Listing,
): Promise<ObjectInfo | null> {
  const key = keyOfStoredPath(stored);
  if (key === null || !key.startsWith(prefix)) return null;
  const stat = await directory.lstat(joined(directory.path, stored), signal);
  if (stat === null || !stat.isFile) return null;
  return { ...infoOf({ key, stat }, null), etag: null };
}

/** Whether a key that begins with `prefix` may have its file below the directory `stored`. */
function mayHold(stored: string, prefix: string): boolean {
  const begin = keyPrefixOf(stored);
  return begin.startsWith(prefix) || prefix.startsWith(begin);
}
