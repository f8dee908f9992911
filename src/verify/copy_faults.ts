/**
 * What is wrong with a copy, by what was read of it, or by its size alone. Pure.
 *
 * @module
 */

import type { ArchiveFile } from "./archive_plan.ts";
import type { CopyReport } from "./copy_reader.ts";
import { OutcomeDraft } from "./outcome_draft.ts";
import type { Depth } from "./report_types.ts";
import type { LocalEntry, ManifestRow } from "./sources.ts";

/** What is wrong with an object, or null. */
export function objectFault(
  report: CopyReport,
  row: ManifestRow,
  file: ArchiveFile,
): string | null {
  if (report.fault !== null) return `the object cannot be read: ${report.fault.why}`;
  const hash = row.stored!.hash;
  if (hash !== null && hash !== report.hash) {
    return `the object is ${report.hash}, ${hash} was stored`;
  }
  if (report.revisions === null) return null;
  const draft = new OutcomeDraft(file);
  draft.judge("", report, "store");
  return draft.findings[0]?.why ?? null;
}

/** A size that shows without reading that the local file is wrong; null if none does. */
export function sizeFault(
  file: ArchiveFile,
  path: string,
  entry: LocalEntry,
  row: ManifestRow | null,
  depth: Depth,
  reads: boolean,
): string | null {
  if (row !== null && row.isClean && row.sizeBytes !== entry.sizeBytes) {
    return `the file has ${entry.sizeBytes} bytes, the manifest has ${row.sizeBytes}`;
  }
  // Where the content is read the digest decides, not a size written at submit.
  if (file.isRcs || (depth !== "size" && reads)) return null;
  const isGzip = path.endsWith(".gz");
  for (const claim of file.revisions[0]!.claims) {
    if (isGzip && claim.kind === "storage" && claim.form === "gzip") {
      if (claim.serverSizeBytes > 0 && claim.serverSizeBytes !== entry.sizeBytes) {
        return `the file has ${entry.sizeBytes} bytes, the storage table has ` +
          `${claim.serverSizeBytes}`;
      }
    } else if (!isGzip && claim.kind !== "storage" && claim.sizeBytes >= 0) {
      const isPlain = ((claim.type | claim.lbrType) & 0x30) === 0 && !claim.hasCharset;
      if (isPlain && claim.sizeBytes !== entry.sizeBytes) {
        return `the file has ${entry.sizeBytes} bytes, the record has ${claim.sizeBytes}`;
      }
    }
  }
  return null;
}
