/**
 * Archive classes of S3: what a HEAD says of an object in one, and what is asked for.
 *
 * Glacier Flexible Retrieval and Deep Archive make a copy for some days; the archive tiers of
 * Intelligent-Tiering move the object back for good and take no number of days. Glacier
 * Instant Retrieval can be read at once, and is none of these.
 *
 * @module
 */

import type { RestoreRequest } from "@aws-sdk/client-s3";
import type { ArchiveState, RetrieveSpeed } from "../backend.ts";

const ARCHIVE_CLASSES = ["GLACIER", "DEEP_ARCHIVE"];

/** As far as the answer to a HEAD tells. */
export interface ArchiveHeaders {
  readonly StorageClass?: string | undefined;
  /** x-amz-restore */
  readonly Restore?: string | undefined;
  /** x-amz-archive-status, of Intelligent-Tiering */
  readonly ArchiveStatus?: string | undefined;
}

/** Null: no archive class holds it. */
export function archiveStateOf(
  { StorageClass, Restore, ArchiveStatus }: ArchiveHeaders,
): ArchiveState | null {
  const isArchived = ARCHIVE_CLASSES.includes(StorageClass ?? "") ||
    ArchiveStatus !== undefined;
  if (!isArchived) return null;
  if (Restore === undefined) return "archived";
  return /ongoing-request\s*=\s*"?true/i.test(Restore) ? "retrieving" : "retrieved";
}

/** Deep Archive has no expedited retrieval: S3 says so, and nothing is changed to another. */
export function restoreRequestOf(
  storageClass: string | null,
  speed: RetrieveSpeed,
  days: number,
): RestoreRequest {
  const tier = { bulk: "Bulk", standard: "Standard", expedited: "Expedited" } as const;
  return {
    ...(storageClass === "INTELLIGENT_TIERING" ? {} : { Days: days }),
    GlacierJobParameters: { Tier: tier[speed] },
  };
}

/** Somebody asked since the HEAD, or it came back by itself. */
export function isUnderWay(error: unknown): boolean {
  const name = error instanceof Error ? error.name : "";
  return name === "RestoreAlreadyInProgress" || name === "ObjectAlreadyInActiveTierError";
}
