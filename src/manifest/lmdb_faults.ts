/**
 * Which errors of `lmdb` mean what.
 *
 * @module
 */

import { statfsSync } from "node:fs";
import { ManifestError } from "./manifest.ts";
import { damaged } from "./reader.ts";

/** Readers in other processes, several threads each. */
export const READERS_MAX = 256;

export function reading<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    // Asking a closed environment is a bug of ours.
    if (/closed/.test(messageOf(error))) throw error;
    throw tooManyReaders(error) ?? stuck(error) ?? damaged("The manifest", error);
  }
}

/** LMDB does nothing more once a meta page could not be written. What was committed is there. */
function stuck(error: unknown): ManifestError | null {
  if (!/MDB_PANIC/.test(messageOf(error))) return null;
  return new ManifestError(
    "stuck",
    "Cannot use the manifest before a new start: the disk refused a write of its first pages; " +
      "nothing was changed",
    { cause: error },
  );
}

/** Nothing is wrong with the manifest when others hold all places. */
function tooManyReaders(error: unknown): ManifestError | null {
  if (!/MDB_READERS_FULL/.test(messageOf(error))) return null;
  return new ManifestError(
    "unavailable",
    `Cannot read the manifest: ${READERS_MAX} readers have it open already, which is all ` +
      "that may; end commands that hang",
    { cause: error },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function openFault(directory: string, error: unknown): ManifestError {
  const tooMany = tooManyReaders(error);
  if (tooMany !== null) return tooMany;
  const { code } = error as { code?: number };
  // LMDB's own codes are negative, but a file that is none of its own may be an EINVAL.
  if (code !== undefined && code > 0 && code !== EINVAL) {
    return cannotOpen(directory, error);
  }
  return damaged(`The manifest in ${directory}`, error);
}

export function cannotOpen(directory: string, error: unknown): ManifestError {
  return new ManifestError(
    "unavailable",
    `Cannot open the manifest in ${directory}: ${messageOf(error)}`,
    { cause: error },
  );
}

/** Why a commit failed: `lmdb` says so in a second promise. */
export async function commitErrorOf(error: unknown): Promise<unknown> {
  try {
    await (error as { commitError?: Promise<unknown> }).commitError;
    return error;
  } catch (reason) {
    return reason;
  }
}

const EIO = 5;
const EINVAL = 22;
const ENOSPC = 28;
const EDQUOT = 122;
/** Less than this left means that the disk is full. */
const ROOM_BYTES = 4 * 1024 * 1024;

export function writeFault(error: unknown, directory: string): ManifestError {
  const code = (error as { code?: number }).code;
  const message = messageOf(error);
  const isStuck = stuck(error);
  if (isStuck !== null) return isStuck;
  if (/MDB_(CORRUPTED|PAGE_NOTFOUND|INVALID|BAD_TXN)/.test(message)) {
    return damaged("The manifest", error);
  }
  // LMDB reports a write that came back short as EIO.
  const isFull = code === ENOSPC || code === EDQUOT || /MDB_MAP_FULL/.test(message) ||
    (code === EIO && !hasRoom(directory));
  return new ManifestError(
    isFull ? "full" : "unavailable",
    `Cannot write the manifest in ${directory}: ` +
      `${isFull ? "the disk is full" : message}; nothing was changed`,
    { cause: error },
  );
}

function hasRoom(directory: string): boolean {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize >= ROOM_BYTES;
}
