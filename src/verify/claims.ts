/**
 * A claim: one row's statement that an archive revision exists and what is in it. Claims are
 * sorted by archive, so that each archive file is looked at once, with all that is said of it.
 *
 * Encoded as fields separated by NUL, which no depot path holds; the first seven are the
 * order: folded file, revision, storage digit, digest, size, keywords, lazy.
 *
 * @module
 */

import {
  type ArchiveForm,
  archiveForm,
  keywordMode,
  revisionsKept,
} from "../perforce/file_type.ts";
import type { RevKind, RevRow, StorageRow } from "../perforce/rows.ts";

export interface Claim {
  readonly kind: RevKind;
  readonly lbrFile: string;
  readonly lbrRev: string;
  readonly lbrType: number;
  readonly form: ArchiveForm | null;
  readonly type: number;
  /** Empty for a claim of the storage tables. */
  readonly depotFile: string;
  readonly depotRev: number;
  readonly action: number;
  readonly change: number;
  /** Lower-case hex MD5; "" if unknown. */
  readonly digest: string;
  /** -1 if unknown. */
  readonly sizeBytes: number;
  readonly isLazy: boolean;
  readonly hasCharset: boolean;
  /** Only of the storage tables: see StorageRow. */
  readonly refCount: number;
  readonly serverSizeBytes: number;
  readonly compressedDigest: string;
  /** Rows that say exactly the same of the archive: this one and its lazy copies. */
  rows: number;
}

/** All claims on the archives of one `lbrFile`. */
export interface ArchiveGroup {
  /** Folded, unique among groups. */
  readonly key: string;
  readonly claims: readonly Claim[];
  /** One of its rows, lazy copies included, was asked for. */
  readonly isWanted: boolean;
}

export function encodeRevClaim(kind: RevKind, rev: RevRow, foldedFile: string): string {
  return [
    foldedFile,
    rev.lbrRev,
    (rev.lbrType & 0xf).toString(16),
    rev.digest,
    rev.sizeBytes,
    keywordMode(rev.type | rev.lbrType),
    rev.isLazy ? 1 : 0,
    kind,
    rev.lbrFile,
    rev.lbrType,
    rev.type,
    rev.depotFile,
    rev.depotRev,
    rev.action,
    rev.change,
    rev.hasCharset ? 1 : 0,
  ].join("\0");
}

export function encodeStorageClaim(row: StorageRow, foldedFile: string): string {
  return [
    foldedFile,
    row.lbrRev,
    (row.lbrType & 0xf).toString(16),
    row.digest,
    row.sizeBytes,
    keywordMode(row.lbrType),
    2,
    "storage",
    row.lbrFile,
    row.lbrType,
    row.lbrType,
    "",
    0,
    0,
    0,
    0,
    row.refCount,
    row.serverSizeBytes,
    row.compressedDigest,
  ].join("\0");
}

function decodeClaim(record: string): { key: string; claim: Claim } {
  const field = record.split("\0");
  const lbrType = Number(field[9]);
  return {
    key: field[0]!,
    claim: {
      kind: field[7] as RevKind,
      lbrFile: field[8]!,
      lbrRev: field[1]!,
      lbrType,
      form: archiveForm(lbrType),
      type: Number(field[10]),
      depotFile: field[11]!,
      depotRev: Number(field[12]),
      action: Number(field[13]),
      change: Number(field[14]),
      digest: field[3]!,
      sizeBytes: Number(field[4]),
      isLazy: field[6] === "1",
      hasCharset: field[15] === "1",
      refCount: Number(field[16] ?? 1),
      serverSizeBytes: Number(field[17] ?? -1),
      compressedDigest: field[18] ?? "",
      rows: 1,
    },
  };
}

/** Groups sorted claims by `lbrFile`. Lazy copies that say the same are counted, not kept. */
export function* groupClaims(
  sorted: Iterable<string>,
  isWanted: (claim: Claim) => boolean = () => true,
): Generator<ArchiveGroup> {
  let key: string | null = null;
  let claims: Claim[] = [];
  let wanted = false;
  for (const record of sorted) {
    const next = decodeClaim(record);
    if (next.key !== key) {
      if (key !== null) yield { key, claims, isWanted: wanted };
      key = next.key;
      claims = [];
      wanted = false;
    }
    wanted ||= isWanted(next.claim);
    const last = claims.at(-1);
    if (last !== undefined && saysTheSame(last, next.claim)) last.rows++;
    else claims.push(next.claim);
  }
  if (key !== null) yield { key, claims, isWanted: wanted };
}

function saysTheSame(a: Claim, b: Claim): boolean {
  return a.lbrRev === b.lbrRev && a.form === b.form && a.digest === b.digest &&
    a.sizeBytes === b.sizeBytes && a.kind === b.kind && a.hasCharset === b.hasCharset &&
    a.kind !== "storage" && keywordMode(b.type | b.lbrType) === "none" &&
    revisionsKept(b.type | b.lbrType) === null &&
    keywordMode(a.type | a.lbrType) === "none";
}
