/**
 * Rows as JSON lines, for other systems and other eyes. The format is in docs/formats.md:
 * a header, one line a row, an end line with the count, so that a torn file is noticed.
 * `import_lines.ts` takes them.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { FileEntry, FileFlags, Manifest } from "./manifest.ts";

export const FORMAT = "p4-cache-manifest";
export const FORMAT_VERSION = 1;
const PAGE_ROWS = 1_000;
/** Header, rows in byte order of their paths, end. Pure ASCII. */
export async function* exportLines(manifest: Manifest): AsyncGenerator<string> {
  yield asciiJson({
    type: "header",
    format: FORMAT,
    version: FORMAT_VERSION,
    instance_id: manifest.meta("instance_id"),
  });
  let count = 0;
  let after: DepotPath | null = null;
  for (;;) {
    const page = manifest.entries("", after, PAGE_ROWS);
    for (const { path, entry } of page) yield asciiJson(fieldsOf(path, entry));
    count += page.length;
    if (page.length < PAGE_ROWS) break;
    after = page.at(-1)!.path;
    await Promise.resolve();
  }
  yield asciiJson({ type: "end", files: count });
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
