/**
 * Which version of a path the store itself would call the newest: what a rebuild goes by when
 * there is neither a manifest nor a copy of one.
 *
 * Invariant: the object that a clean row names has the greatest generation of all versions of
 * its path, whatever was uploaded in between and came to nothing. An upload that finds its
 * content in the store already keeps to it by asking here; where another version is newer, it
 * stores the content once more.
 *
 * @module
 */

import { firstVersionOf, type ObjectKey } from "../core/names.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";

/** Null if the store has no version. @throws {StorageError} */
export async function newestVersion(
  store: StorageBackend,
  first: ObjectKey,
  signal: AbortSignal,
): Promise<ObjectInfo | null> {
  let newest: ObjectInfo | null = null;
  for await (const listed of store.list(first, signal)) {
    if (firstVersionOf(listed.key) !== first) continue;
    const info = listed.metadata === null ? await store.head(listed.key, signal) : listed;
    if (info !== null && (newest === null || isNewer(info, newest))) newest = info;
  }
  return newest;
}

/** Versions without a generation are older than all that have one. */
function isNewer(a: ObjectInfo, b: ObjectInfo): boolean {
  const [first, second] = [a, b].map(({ metadata }) => metadata?.generation ?? -1);
  if (first !== second) return first! > second!;
  return (a.storedAtMs ?? 0) > (b.storedAtMs ?? 0);
}
