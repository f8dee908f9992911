/**
 * Multipart uploads that a crash left: nobody sees them, and they are billed until somebody
 * aborts them.
 *
 * Taken for ours is what lies under our own prefix, which has one writer, is named as `p4d`
 * names an archive or as we name objects, was begun over a day ago, is not under way in this
 * process, and has no object at its key. Anything else is left to the bucket's lifecycle rule:
 * the upload of an object that is complete may stay in the list of those that are not, and on
 * SeaweedFS (its issue 10663) who aborts it frees the bytes of the object.
 *
 * @module
 */

import { StorageError } from "../storage_error.ts";
import type { PartsUpload } from "./s3_requests.ts";

export const ABANDONED_AFTER_MS = 86_400_000;

/**
 * The process must be as old before it looks: until then the service may still complete what
 * a process before it asked for. Ceph takes ten minutes at most.
 */
export const SWEEP_UPTIME_MS = 3_600_000;

/** From one look to the next. */
export const SWEEP_EVERY_MS = 86_400_000;

/** One that the service lists. */
export interface BegunUpload {
  readonly upload: PartsUpload;
  /** Without the prefix. */
  readonly key: string;
  readonly begunAtMs: number | null;
}

export interface BegunPage {
  readonly uploads: readonly BegunUpload[];
  /** Where the next page begins; null: this was the last one. */
  readonly next: { readonly key: string; readonly uploadId: string } | null;
  /** The store's clock. */
  readonly nowMs: number | null;
}

/**
 * What a page says of the one after it.
 *
 * @throws {StorageError} Who is told that there is more, and nowhere new to ask for it, has not
 * seen all: what a crash left would be billed on, and nobody would know.
 */
export function nextBegunOf(
  output: {
    IsTruncated?: boolean | undefined;
    NextKeyMarker?: string | undefined;
    NextUploadIdMarker?: string | undefined;
  },
  from: BegunPage["next"],
): BegunPage["next"] {
  if (output.IsTruncated !== true) return null;
  const { NextKeyMarker: key = "", NextUploadIdMarker: uploadId = "" } = output;
  const isSame = key === from?.key && uploadId === from.uploadId;
  if (key !== "" && !isSame) return { key, uploadId };
  const detail = "the service says that there are more uploads, and not where";
  throw new StorageError("invalid", { operation: "list", key, detail });
}

/** The requests that it takes. */
export interface AbandonedRequests {
  begunUploads(from: BegunPage["next"], signal: AbortSignal): Promise<BegunPage>;
  abortParts(upload: PartsUpload): Promise<void>;
  /** Whether there is an object at `key`, which is without the prefix. */
  hasObject(key: string, signal: AbortSignal): Promise<boolean>;
}

/** Names of archives, of their versions, and of objects whose path is no key. */
const OURS = /,v$|,d\/[^/]+$|\.p4cv-[0-9a-f]{16}$|^\.p4cache-(?:bytes|long|meta)\//;

/** Whether `begun` may be aborted. Pure. */
export function isAbandoned(
  { key, begunAtMs, upload }: BegunUpload,
  nowMs: number,
  active: ReadonlySet<string>,
): boolean {
  return begunAtMs !== null && nowMs - begunAtMs > ABANDONED_AFTER_MS &&
    upload.UploadId !== undefined && !active.has(upload.UploadId) && OURS.test(key);
}

/** Aborts all of them that have no object. Returns how many there were. */
export async function abortAbandoned(
  requests: AbandonedRequests,
  { nowMs, active, signal }: {
    /** Our own clock: both have to say that a day is over. */
    readonly nowMs: () => number;
    readonly active: ReadonlySet<string>;
    readonly signal: AbortSignal;
  },
): Promise<number> {
  let abortedCount = 0;
  for (let from: BegunPage["next"] = null;;) {
    const page: BegunPage = await requests.begunUploads(from, signal);
    const agreedMs = Math.min(nowMs(), page.nowMs ?? Infinity);
    for (const begun of page.uploads) {
      if (!isAbandoned(begun, agreedMs, active)) continue;
      signal.throwIfAborted();
      if (await requests.hasObject(begun.key, signal)) continue;
      await requests.abortParts(begun.upload);
      abortedCount += 1;
    }
    from = page.next;
    if (from === null) return abortedCount;
  }
}
