/**
 * An object's resource in our words.
 *
 * The generation is the ETag and the version: it names exactly one content of a name, and
 * is what every precondition of the API takes.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import type { ObjectInfo } from "../backend.ts";
import { decodeMetadata } from "../object_metadata.ts";
import type { GcsObject } from "./gcs_requests.ts";

export function infoOfObject(
  key: ObjectKey,
  object: GcsObject,
  dateMs: number | null,
): ObjectInfo {
  const storedAtMs = Date.parse(object.timeCreated ?? "");
  return {
    key,
    sizeBytes: Number(object.size ?? 0),
    etag: object.generation ?? null,
    storedAtMs: Number.isNaN(storedAtMs) ? null : storedAtMs,
    versionId: object.generation ?? null,
    storageClass: object.storageClass ?? null,
    metadata: decodeMetadata(object.metadata ?? {}, "-"),
    storeNowMs: dateMs,
  };
}
