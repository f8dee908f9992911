/**
 * A record of a delete that the shim could not report, as shim/remove.c writes it: one line of
 * JSON.
 *
 * @module
 */

import type { FileEntry } from "../manifest/manifest.ts";
import { changedAtNs } from "../manifest/unproven.ts";

export interface FailedDelete {
  readonly tsMs: number;
  readonly path: string;
  readonly pid: number;
  readonly uid: number;
  readonly why: string;
}

/**
 * Whether the row's file is what the record says was deleted, and no newer one: by its ctime,
 * which its making set. One that was changed and deleted in the same millisecond is. A row
 * without a ctime counts in whole seconds: in the same second it may be the newer one, and stays.
 */
export function isOlder(
  { settledAtS, local }: {
    readonly settledAtS: number;
    readonly local: Pick<FileEntry["local"], "ctimeNs">;
  },
  tsMs: number,
): boolean {
  const changedNs = changedAtNs(local);
  return changedNs > 0n
    ? changedNs / 1_000_000n <= BigInt(tsMs)
    : (settledAtS + 1) * 1000 <= tsMs;
}

/** One line of the shim; null for anything else. */
export function parseFailedDelete(line: string): FailedDelete | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { ts, path, pid, uid, why } = value as Record<string, unknown>;
  if (typeof ts !== "number" || !Number.isSafeInteger(ts) || ts < 0 || ts > 8.64e15) {
    return null;
  }
  if (typeof path !== "string" || typeof why !== "string") return null;
  if (typeof pid !== "number" || typeof uid !== "number") return null;
  return { tsMs: ts, path, pid, uid, why: why.slice(0, 100) };
}
