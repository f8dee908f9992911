/**
 * What every HTTP store has in common when it fails: no answer at all, the status where
 * the code says nothing, and how long it asks us to wait.
 *
 * @module
 */

import type { ObjectInfo } from "../backend.ts";
import {
  StorageError,
  type StorageFault,
  type StorageOperation,
} from "../storage_error.ts";
import { TransportError } from "./transport.ts";

/**
 * The fault of a status that came without a code that the vendor's table knows: perhaps it
 * is of something in between, which knows nothing of objects, so that its 404 is not an
 * absent object.
 */
export function faultOfStatus(status: number): StorageFault {
  if (status === 401 || status === 403 || status === 407) return "denied";
  if (status === 412 || status === 304) return "precondition";
  if (status === 408) return "unavailable";
  if (status === 429 || status === 503) return "throttled";
  if (status === 507) return "full";
  if (status >= 500) return "unavailable";
  // A redirect is an answer from a place that we were not told to ask; a success that ends
  // as an error was not in the store's words.
  return "invalid";
}

/** Milliseconds of a Retry-After header: seconds, or a date; null if it has none. */
export function retryAfterMsOf(
  header: string | undefined,
  nowMs: number,
): number | null {
  if (header === undefined) return null;
  if (/^\d{1,6}$/.test(header.trim())) return Number(header) * 1_000;
  const dateMs = Date.parse(header);
  return Number.isNaN(dateMs) ? null : Math.max(0, dateMs - nowMs);
}

/** Milliseconds of a Date or Last-Modified header. */
export function dateMsOf(header: string | undefined): number | null {
  const ms = header === undefined ? NaN : Date.parse(header);
  return Number.isNaN(ms) ? null : ms;
}

/**
 * `info`, if it is the store's: every store names an ETag or generation in each answer, and
 * a portal that says 200 to everything does not.
 *
 * @throws {StorageError} `unavailable`
 */
export function fromTheStore(info: ObjectInfo, operation: StorageOperation): ObjectInfo {
  if (info.etag !== null && info.etag !== "") return info;
  throw new StorageError("unavailable", {
    operation,
    key: info.key,
    detail: "the answer has no ETag: it is not the store's, but of something in between",
  });
}

/** The StorageError of a TransportError; null for any other error. */
export function transportStorageError(
  error: unknown,
  operation: StorageOperation,
  key: string,
): StorageError | null {
  if (!(error instanceof TransportError)) return null;
  const fault = error.fault === "pinned" ? "invalid" : "unavailable";
  return new StorageError(fault, { operation, key, detail: error.message, cause: error });
}
