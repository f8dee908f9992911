/**
 * What the verifier finds, and how it counts.
 *
 * @module
 */

/**
 * missing: an archive revision has no copy where one must be. bad: a copy is not what the
 * record says. orphan: a file or object that no record names, nor a row or tombstone of another
 * name has. stray: a manifest row that no record names, with neither file nor object.
 */
export type FindingKind = "missing" | "bad" | "orphan" | "stray";

/** Which side is wrong. record: the rows of the server disagree with each other. */
export type Side = "local" | "store" | "record" | "manifest";

export interface Finding {
  readonly kind: FindingKind;
  /** `//depot/a/b`, one character per byte; "" where no row names one. */
  readonly depotFile: string;
  /** Null where the record has none: the storage table, orphans. */
  readonly depotRev: number | null;
  readonly action: string | null;
  readonly change: number | null;
  readonly type: string | null;
  /** MD5 by the record, lower-case hex; null if it has none. */
  readonly digest: string | null;
  /** Path below the depot root, or key of the object. */
  readonly archive: string;
  readonly archiveRev: string | null;
  /** Rows that rest upon this archive revision, lazy copies included. */
  readonly rows: number;
  readonly wrong: readonly Side[];
  /** Where a good copy is left, and whether it was read or is only there. */
  readonly good: readonly { readonly side: Side; readonly isVerified: boolean }[];
  readonly why: string;
}

/** Counts. `checked` = ok + missing + bad + unverifiable; the others are beside them. */
export interface Tally {
  /** Archive revisions. */
  checked: number;
  ok: number;
  missing: number;
  bad: number;
  unverifiable: number;
  /** Absent, and allowed to be: purged by +S, of a submit under way, no longer referred to. */
  excused: number;
  /** Not asked for: remote depots, archive depots, +X, not in the path that was given. */
  skipped: number;
  /** Not read although in the selection: the recall budget was used up. */
  deferred: number;
  /** Checked at size instead of content or hash: not in the sample. */
  notSampled: number;
  /** Rows of the server that rest upon what was checked. */
  rows: number;
  bytesRead: number;
  bytesRecalled: number;
}

export function emptyTally(): Tally {
  return {
    checked: 0,
    ok: 0,
    missing: 0,
    bad: 0,
    unverifiable: 0,
    excused: 0,
    skipped: 0,
    deferred: 0,
    notSampled: 0,
    rows: 0,
    bytesRead: 0,
    bytesRecalled: 0,
  };
}

export function addTally(sum: Tally, other: Tally): void {
  for (const name of Object.keys(sum) as (keyof Tally)[]) sum[name] += other[name];
}

export type Depth = "exists" | "size" | "hash" | "content";
