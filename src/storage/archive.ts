/**
 * What stores without an archive class, or one that can be read at once, do when they are
 * asked to retrieve.
 *
 * @module
 */

import type { RetrieveRequest, RetrieveState, StorageBackend } from "./backend.ts";
import { StorageError } from "./storage_error.ts";

/** @throws {StorageError} `not-found` */
export async function readableAtOnce(
  store: Pick<StorageBackend, "head">,
  { key, signal }: RetrieveRequest,
): Promise<RetrieveState> {
  if (await store.head(key, signal) !== null) return "readable";
  throw absent(key);
}

export function absent(key: string): StorageError {
  const detail = "there is no such object";
  return new StorageError("not-found", { operation: "retrieve", key, detail });
}
