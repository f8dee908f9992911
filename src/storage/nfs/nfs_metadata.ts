/**
 * What is known about a stored object: from its file, and from its sidecar (nfs_sidecar.ts).
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import type { ObjectInfo, ObjectMetadata } from "../backend.ts";
import { joined, type NfsDirectory, parentOf, type StoredStat } from "./nfs_directory.ts";
import { SIDECAR_DIRECTORY, storedPathOf } from "./nfs_keys.ts";
import { decodeSidecar, encodeSidecar, type StoredFile } from "./nfs_sidecar.ts";

export interface StoredObject {
  readonly key: ObjectKey;
  /** Of its file. */
  readonly stat: StoredStat;
}

/**
 * The ETag is the content's hash where it is known: it survives a copy of the tree to
 * another filer, as a manifest that names it must. Without a sidecar it is size and time.
 */
export function infoOf(
  { key, stat }: StoredObject,
  metadata: ObjectMetadata | null,
): ObjectInfo {
  const { sizeBytes, storedAtMs } = fileOf(stat);
  return {
    key,
    sizeBytes,
    etag: metadata?.hash ?? `${sizeBytes}-${Math.floor(storedAtMs / 1_000)}`,
    storedAtMs,
    versionId: null,
    storageClass: null,
    metadata,
    storeNowMs: null,
  };
}

/** With null in place of the metadata where no sidecar is of this very file. */
export async function readInfo(
  directory: NfsDirectory,
  object: StoredObject,
  signal: AbortSignal | undefined,
): Promise<ObjectInfo> {
  const text = await directory.readText(sidecarOf(directory, object.key), signal);
  return infoOf(object, text === null ? null : decodeSidecar(text, fileOf(object.stat)));
}

export async function writeSidecar(
  directory: NfsDirectory,
  { key, stat }: StoredObject,
  metadata: ObjectMetadata,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = sidecarOf(directory, key);
  const temporary = directory.temporaryPath();
  const text = encodeSidecar(fileOf(stat), metadata);
  await directory.writeFile(temporary, new TextEncoder().encode(text), key, signal);
  await directory.makeDirectories(parentOf(path), signal);
  await directory.renameOver(temporary, path, signal);
}

/** Resolves when that is durable. */
export async function removeSidecar(
  directory: NfsDirectory,
  key: ObjectKey,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = sidecarOf(directory, key);
  if (await directory.remove(path, signal)) {
    await directory.syncDirectory(parentOf(path), signal);
  }
}

function sidecarOf(directory: NfsDirectory, key: ObjectKey): string {
  return `${joined(directory.path, SIDECAR_DIRECTORY)}/meta/${storedPathOf(key)}`;
}

function fileOf(stat: StoredStat): StoredFile {
  return { sizeBytes: stat.size, storedAtMs: stat.mtime?.getTime() ?? 0 };
}
