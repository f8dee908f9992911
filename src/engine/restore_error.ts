/**
 * Why a file cannot be had, in the words of the shim's protocol.
 *
 * @module
 */

import { StorageError } from "../storage/storage_error.ts";
import { NoSpaceError } from "./space.ts";

/** The shim's codes. */
export type RestoreFault =
  | "NOTFOUND"
  | "CORRUPT"
  | "UNAVAILABLE"
  | "FULL"
  | "DENIED"
  | "QUOTA";

/** A restore failed for good. Nothing changed, on the disk or in the manifest. */
export class RestoreError extends Error {
  override readonly name = "RestoreError";
  readonly fault: RestoreFault;

  constructor(fault: RestoreFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

export function asRestoreError(error: unknown): RestoreError {
  if (error instanceof RestoreError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const options = { cause: error };
  if (error instanceof NoSpaceError) return new RestoreError("FULL", message, options);
  if (error instanceof StorageError) {
    const fault = error.fault === "corrupt" || error.fault === "not-found"
      ? "CORRUPT" // the row says that the store has it: its absence is damage, not an answer
      : error.fault === "full"
      ? "FULL"
      : "UNAVAILABLE";
    return new RestoreError(fault, message, options);
  }
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new RestoreError("FULL", message, options);
  }
  return new RestoreError("UNAVAILABLE", message, options);
}
