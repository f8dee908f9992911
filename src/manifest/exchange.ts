/**
 * Rows as JSON lines, for other systems and other eyes. The format is in docs/formats.md:
 * a header, one line a row, an end line with the count, so that a torn file is noticed.
 * `import_lines.ts` takes them.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import {
  type FileEntry,
  type FileFlags,
  type Manifest,
  ManifestError,
  type ManifestSnapshot,
} from "./manifest.ts";
import { MOVING } from "./moving.ts";
import { allRows } from "./snapshot.ts";

export const FORMAT = "p4-cache-manifest";
export const FORMAT_VERSION = 1;

/**
 * Header, rows in byte order of their paths, end. Pure ASCII. All of one moment, which is held from
 * the first line to the last: who takes them is not to tarry.
 *
 * @throws {ManifestError} `unavailable` before the first line, if the rename of a directory has begun
 * in the manifest and not ended.
 */
export async function* exportLines(manifest: Manifest): AsyncGenerator<string> {
  const snapshot = manifest.snapshot();
  try {
    refuseHalfMoved(snapshot);
    yield asciiJson({
      type: "header",
      format: FORMAT,
      version: FORMAT_VERSION,
      instance_id: snapshot.meta("instance_id"),
    });
    let count = 0;
    for await (const page of allRows(snapshot)) {
      for (const { path, entry } of page) yield asciiJson(fieldsOf(path, entry));
      count += page.length;
    }
    yield asciiJson({ type: "end", files: count });
  } finally {
    snapshot.done();
  }
}

/** Who takes the rows does not get the record that some of them are still to be renamed. */
function refuseHalfMoved(snapshot: ManifestSnapshot): void {
  if (snapshot.meta(MOVING) === null) return;
  throw new ManifestError(
    "unavailable",
    "Cannot export the manifest: the rename of a directory has begun in it and not ended; " +
      "try again while the daemon runs, or start the daemon once, which finishes it",
  );
}

function fieldsOf(path: DepotPath, entry: FileEntry): Record<string, unknown> {
  const { local, stored, flags } = entry;
  return {
    type: "file",
    path,
    state: entry.state,
    resident: entry.resident,
    size: local.sizeBytes,
    mtime_ns: String(local.mtimeNs),
    ctime_ns: String(local.ctimeNs),
    mode: local.mode,
    uid: local.uid,
    gid: local.gid,
    ino: String(local.ino),
    dev: String(local.dev),
    last_access: entry.lastAccessS,
    created_at: entry.createdAtS,
    generation: entry.generation,
    ...(stored === null ? {} : {
      storage_key: stored.key,
      content_hash: stored.hash,
      stored_size: stored.sizeBytes,
      stored_mtime_ns: String(stored.mtimeNs),
      version_id: stored.versionId,
    }),
    flags: (Object.keys(flags) as (keyof FileFlags)[]).filter((name) => flags[name]),
  };
}

/** JSON with each character above 0x7e as `\u00XX`: paths are one character per byte. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
