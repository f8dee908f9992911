/**
 * What is known about an object beside its bytes: one small JSON file in a tree of its own,
 * `.p4cache-storage/meta/<path of the object>`.
 *
 * A user xattr would be lost by `rsync -a`, by NFS 3, and by most ways in which a tree
 * moves to another filer; a file is not. Invariants: a sidecar is written only after its
 * object, and removed, durably, before it, so that none outlives its object; and it names
 * size and modification time (whole seconds: not every file system keeps more, and rsync
 * keeps that) of the object's file, so that one that was copied without its object, or
 * the other way round, is taken for missing. A missing one is no damage: the object is
 * then served without a hash, and the manifest has its own.
 *
 * @module
 */

import type { ObjectMetadata } from "../backend.ts";
import {
  countOrNull,
  GENERATION_MAX,
  ID_MAX,
  MODE_MAX,
  timeOrNull,
} from "../object_metadata.ts";

/** The object's own file, as far as a sidecar names it. */
export interface StoredFile {
  readonly sizeBytes: number;
  readonly storedAtMs: number;
}

const FORMAT_VERSION = 1;

export function encodeSidecar(file: StoredFile, metadata: ObjectMetadata): string {
  return JSON.stringify({
    version: FORMAT_VERSION,
    size: file.sizeBytes,
    stored_at: Math.floor(file.storedAtMs / 1_000),
    hash: metadata.hash,
    mtime_ns: metadata.mtimeNs === null ? null : String(metadata.mtimeNs),
    mode: metadata.mode,
    uid: metadata.uid,
    gid: metadata.gid,
    path: metadata.path,
    generation: metadata.generation,
  }) + "\n";
}

/** The metadata in `text`, or null if it is not whole, or not of `file`. */
export function decodeSidecar(text: string, file: StoredFile): ObjectMetadata | null {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof fields !== "object" || fields === null) return null;
  if (fields.version !== FORMAT_VERSION || fields.size !== file.sizeBytes) return null;
  if (fields.stored_at !== Math.floor(file.storedAtMs / 1_000)) return null;
  const generation = countOrNull(fields.generation, GENERATION_MAX);
  return {
    hash: hexOrNull(fields.hash),
    mtimeNs: timeOrNull(fields.mtime_ns),
    mode: countOrNull(fields.mode, MODE_MAX),
    uid: countOrNull(fields.uid, ID_MAX),
    gid: countOrNull(fields.gid, ID_MAX),
    path: typeof fields.path === "string" ? fields.path : null,
    ...generation !== null && { generation },
  };
}

function hexOrNull(value: unknown): string | null {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value) ? value : null;
}
