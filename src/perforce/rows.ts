/**
 * Rows of the tables that say which archive files must exist: the rev family, the storage
 * family, and the few tables that say where depots lie. Pure.
 *
 * Columns are read by position. More columns than a version is known to have are allowed
 * (servers only append), fewer are an error: half a row is never taken for a row.
 *
 * @module
 */

import { parseDigest } from "./digest.ts";
import type { JournalRow } from "./journal_scanner.ts";

/** A row that does not have what its table promises. */
export class RowError extends Error {
  override readonly name = "RowError";
}

/**
 * Tables of the rev family that name archives, and what their rows are. Not here: db.revdx,
 * db.revhx and db.revcx, which repeat rows of db.rev.
 */
export const REV_TABLES = {
  "db.rev": "submitted",
  "db.revbx": "archived", //   in an archive depot
  "db.revpx": "pending", //    a submit under way: its archives may not be final
  "db.revsh": "shelved",
  "db.revstg": "pending",
  "db.revsx": "spec",
  "db.revtx": "task", //       private revisions of task streams
  "db.revux": "unloaded",
  "db.revtr": "trait",
} as const;

export type RevTable = keyof typeof REV_TABLES;
/** `storage`: known from the storage tables only. */
export type RevKind = typeof REV_TABLES[RevTable] | "storage";

export const STORAGE_TABLES: readonly string[] = ["db.storage", "db.storagesh"];

/** What happened to a file in a revision, as its row numbers it. */
export const ACTIONS: readonly string[] = [
  "add",
  "edit",
  "delete",
  "branch",
  "integrate",
  "import",
  "purge",
  "move/delete",
  "move/add",
  "archive",
];

/** A revision. Paths are bytes, one character each. */
export interface RevRow {
  readonly depotFile: string;
  readonly depotRev: number;
  readonly type: number;
  readonly action: number;
  readonly change: number;
  /** Lower-case hex MD5 of the content as a client gets it in server form; "" if unknown. */
  readonly digest: string;
  /** Of the same content; -1 if unknown. */
  readonly sizeBytes: number;
  /** The content belongs to another file's archive. */
  readonly isLazy: boolean;
  /** The content was stored in a character set of its own (`server.filecharset`). */
  readonly hasCharset: boolean;
  readonly lbrFile: string;
  readonly lbrRev: string;
  readonly lbrType: number;
}

/** An archive, as servers since 2019.1 list them. */
export interface StorageRow {
  readonly lbrFile: string;
  readonly lbrRev: string;
  readonly lbrType: number;
  /** 0: nothing refers to it; the server may remove it at any time. */
  readonly refCount: number;
  /** Of the content without keywords expanded; "" if unknown. */
  readonly digest: string;
  readonly sizeBytes: number;
  /** Size of the archive file when the revision was submitted; 0 or less if unknown. */
  readonly serverSizeBytes: number;
  /** MD5 of the compressed file; "" if unknown. */
  readonly compressedDigest: string;
}

export type DepotType =
  | "local"
  | "remote"
  | "spec"
  | "stream"
  | "archive"
  | "unload"
  | "tangent"
  | "graph"
  | "extension"
  | "unknown";

const DEPOT_TYPES: readonly DepotType[] = [
  "local",
  "remote",
  "spec",
  "stream",
  "archive",
  "unload",
  "tangent",
  "graph",
  "extension",
];

export interface DepotRow {
  readonly name: string;
  readonly type: DepotType;
  /** Where its archives lie: `depot/...`, or absolute. */
  readonly map: string;
  /** Not empty where the archives are in the server's own object store. */
  readonly address: string;
}

export interface ConfigRow {
  readonly server: string;
  readonly name: string;
  readonly value: string;
}

/**
 * Versions seen: 3 (2004.1: 11 columns, without size, trait and lazy) and 9 (2015.1 to
 * 2020.2: 14); later ones are taken to append columns.
 *
 * @throws {RowError}
 */
export function parseRevRow(row: JournalRow): RevRow {
  const isOld = row.version <= 3;
  if (!isOld && row.version < 9) {
    throw new RowError(`Version ${row.version} of ${row.table} is not known`);
  }
  need(row, isOld ? 11 : 14);
  const lbrAt = isOld ? 8 : 11;
  const lazy = isOld ? 0 : int(row, 10);
  const action = int(row, 3);
  // Deleted revisions name an archive too; nothing is asked of it, nor of its name.
  const promises = promisesContent(action);
  return {
    depotFile: depotFile(row, 0),
    depotRev: int(row, 1),
    type: int(row, 2),
    action,
    change: int(row, 4),
    digest: digest(row, 7),
    sizeBytes: isOld ? -1 : int(row, 8),
    isLazy: (lazy & 1) !== 0,
    hasCharset: lazy > 0xff_ffff,
    lbrFile: promises ? depotFile(row, lbrAt) : row.fields[lbrAt]!,
    lbrRev: promises ? archiveRevision(row, lbrAt + 1) : row.fields[lbrAt + 1]!,
    lbrType: int(row, lbrAt + 2),
  };
}

function promisesContent(action: number): boolean {
  const name = ACTIONS[action];
  return name !== "delete" && name !== "move/delete" && name !== "purge" &&
    name !== "archive";
}

/** Whether a revision promises content of its own at its `lbrFile`. */
export function hasContent(rev: RevRow): boolean {
  return promisesContent(rev.action);
}

/** @throws {RowError} */
export function parseStorageRow(row: JournalRow): StorageRow {
  need(row, 9);
  return {
    lbrFile: depotFile(row, 0),
    lbrRev: archiveRevision(row, 1),
    lbrType: int(row, 2),
    refCount: int(row, 3),
    digest: digest(row, 4),
    sizeBytes: int(row, 5),
    serverSizeBytes: int(row, 6),
    compressedDigest: digest(row, 7),
  };
}

/** @throws {RowError} */
export function parseDepotRow(row: JournalRow): DepotRow {
  need(row, 4);
  return {
    name: row.fields[0]!,
    type: DEPOT_TYPES[int(row, 1)] ?? "unknown",
    map: row.fields[3]!,
    address: row.fields[4] ?? "",
  };
}

/** @throws {RowError} */
export function parseConfigRow(row: JournalRow): ConfigRow {
  need(row, 3);
  return { server: row.fields[0]!, name: row.fields[1]!, value: row.fields[2]! };
}

/** How many leading columns make two rows of a table the same row. */
export function keyColumns(table: string): number {
  switch (table) {
    case "db.rev":
    case "db.revpx":
    case "db.revsx":
    case "db.revux":
    case "db.revbx":
    case "db.revtx":
    case "db.config":
      return 2;
    case "db.revsh":
    case "db.revstg":
    case "db.revtr":
      return 5;
    case "db.storage":
    case "db.storagesh":
      return 3;
    default:
      return 1;
  }
}

function need(row: JournalRow, columns: number): void {
  if (Number.isNaN(row.version) || row.fields.length < columns) {
    throw new RowError(
      `A row of ${row.table} (version ${row.version}) has ${row.fields.length} columns, ` +
        `at least ${columns} are wanted`,
    );
  }
}

function int(row: JournalRow, at: number): number {
  const text = row.fields[at]!;
  if (!/^-?\d{1,15}$/.test(text)) {
    throw new RowError(
      `Column ${at + 1} of a row of ${row.table} is "${text.slice(0, 64)}", not a number`,
    );
  }
  return Number(text);
}

function digest(row: JournalRow, at: number): string {
  try {
    return parseDigest(row.fields[at]!);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RowError(`Column ${at + 1} of a row of ${row.table}: ${error.message}`);
  }
}

function depotFile(row: JournalRow, at: number): string {
  const text = row.fields[at]!;
  const isPath = text.length > 3 && text.startsWith("//") && text.indexOf("/", 2) > 2 &&
    !text.includes("\0") &&
    !/\/(?:\.{0,2})(?:\/|$)/.test(text.slice(2));
  if (!isPath) {
    throw new RowError(
      `Column ${at + 1} of a row of ${row.table} is "${
        text.slice(0, 64)
      }", not a depot path`,
    );
  }
  return text;
}

function archiveRevision(row: JournalRow, at: number): string {
  const text = row.fields[at]!;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(text) || text.startsWith(".")) {
    throw new RowError(
      `Column ${at + 1} of a row of ${row.table} is "${text.slice(0, 64)}", ` +
        `not an archive revision`,
    );
  }
  return text;
}
