/**
 * From the outputs of S3's requests to what our callers are told. Pure.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import type { ObjectInfo } from "../backend.ts";
import { decodeMetadata } from "../object_metadata.ts";
import { StorageError } from "../storage_error.ts";

/** The store's clock at its answer. */
export interface Answered {
  readonly dateMs: number | null;
}

/** @throws {StorageError} A list that ends early makes objects look as if they were gone. */
export function nextTokenOf(
  output: {
    IsTruncated?: boolean | undefined;
    NextContinuationToken?: string | undefined;
  },
  prefix: string,
): string | null {
  if (output.IsTruncated !== true) return null;
  const { NextContinuationToken: token = "" } = output;
  if (token !== "") return token;
  const detail = "the service says that there is more, and not where: " +
    "it does not know ListObjectsV2, which p4-cache needs";
  throw new StorageError("invalid", { operation: "list", key: prefix, detail });
}

export function infoOf(
  key: ObjectKey,
  output: {
    ETag?: string | undefined;
    LastModified?: Date | undefined;
    VersionId?: string | undefined;
    StorageClass?: string | undefined;
    Metadata?: Record<string, string> | undefined;
  } & Answered,
  sizeBytes: number,
): ObjectInfo {
  return {
    key,
    sizeBytes,
    etag: output.ETag ?? null,
    storedAtMs: output.LastModified?.getTime() ?? null,
    versionId: output.VersionId ?? null,
    storageClass: output.StorageClass ?? null,
    metadata: decodeMetadata(output.Metadata ?? {}, "-"),
    storeNowMs: output.dateMs,
  };
}
