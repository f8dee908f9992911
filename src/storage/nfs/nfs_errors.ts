/**
 * From errno to fault. The one place that reads a code of a file system.
 *
 * @module
 */

import {
  StorageError,
  type StorageFault,
  type StorageOperation,
} from "../storage_error.ts";
import { StallError } from "./mount_calls.ts";

const FAULT_OF_CODE: Readonly<Record<string, StorageFault>> = {
  EACCES: "denied",
  EPERM: "denied",
  EROFS: "denied",
  ENOSPC: "full",
  EDQUOT: "full",
  EFBIG: "invalid",
  EINVAL: "invalid",
  ENAMETOOLONG: "invalid",
  ELOOP: "invalid",
  EISDIR: "invalid",
  EEXIST: "precondition",
  // A handle the server no longer knows; a new look-up finds the file again.
  ESTALE: "unavailable",
  EIO: "unavailable",
  EREMOTEIO: "unavailable",
  ETIMEDOUT: "unavailable",
  EHOSTDOWN: "unavailable",
  EHOSTUNREACH: "unavailable",
  ENETUNREACH: "unavailable",
  ENOTCONN: "unavailable",
  EAGAIN: "unavailable",
  EBUSY: "unavailable",
  EINTR: "unavailable",
  EMFILE: "unavailable",
  ENFILE: "unavailable",
  ENOMEM: "unavailable",
  EPROTO: "unavailable",
  // NFS v3 "try again later" where the client passes it on.
  EJUKEBOX: "unavailable",
};

/** Whether `error` says that the name, or a directory on the way to it, is not there. */
export function isAbsence(error: unknown): boolean {
  const code = errnoCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

export function errnoCode(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const code = (error as Error & { code?: unknown }).code;
  return typeof code === "string" ? code : null;
}

/**
 * The fault of a failed call. A code that is not in the table is `unavailable`: it is
 * retried, then kept in the ledger, and nothing is believed about the object.
 */
export function faultOfErrno(error: unknown): StorageFault | null {
  if (error instanceof StallError) return "unavailable";
  const code = errnoCode(error);
  if (code === null) return null;
  return FAULT_OF_CODE[code] ?? "unavailable";
}

/** Wraps a failed call; anything that is not one (an abort, a bug) comes back as it is. */
export function nfsError(
  operation: StorageOperation,
  key: string,
  error: unknown,
): unknown {
  if (error instanceof StorageError) return error;
  const fault = faultOfErrno(error);
  if (fault === null) return error;
  const what = error instanceof Error ? error.message : String(error);
  return new StorageError(fault, { operation, key, detail: what, cause: error });
}

/** A fault that no call reported. */
export function fault(
  name: StorageFault,
  operation: StorageOperation,
  key: string,
  detail: string,
): StorageError {
  return new StorageError(name, { operation, key, detail });
}
