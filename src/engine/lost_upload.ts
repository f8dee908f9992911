/**
 * Objects of uploads that nobody heard the end of: the answer was lost, or the daemon died.
 *
 * No row names such an object, so no delete of its file would ever remove it, and an open of
 * the name would take it for the file.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import { uploadedSince } from "../manifest/row.ts";
import { type EngineContext, firstKey, hasOtherStores } from "./engine_context.ts";

/**
 * What lies under the first key of `path`, if anything, and is of an upload of `entry`, goes
 * after the grace like a version that was replaced. Resolves when that is durable.
 */
export function buryLostUpload(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<void> {
  const { sizeBytes, mtimeNs } = entry.local;
  const stored = { key: firstKey(path), hash: null, sizeBytes, mtimeNs, versionId: null };
  const whiteout = hasOtherStores(context);
  return context.manifest.orphaned(path, stored, uploadedSince(entry), whiteout);
}
