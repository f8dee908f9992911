/**
 * What the manifest needs of the store below it: ordered tables of byte strings, and
 * atomic, durable groups of writes. LMDB is one implementation, memory the other.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { SealedRow } from "../posix/sealed_rows.ts";

/** Each table, with its key and its value. `id` is a row's. Numbers are u64, big-endian. */
export const TABLES = [
  "files_by_path", //      path: id
  "rows_by_id", //         id: row (file_entry_codec.ts)
  "paths_by_id", //        id: path
  "dirty_queue", //        sequence: id, of dirty rows that are due
  "dirty_since", //        ms, id: of every row that is not clean
  "retry_deadlines", //    ms, id: of dirty rows that wait
  "lru_by_timestamp", //   eviction rank, id: of resident clean rows
  "conflicts", //          id: of rows with the flag conflict or foreign
  "keys_elsewhere", //     key, NUL, id: of rows whose object is named after another path
  "tombstones", //         path, NUL, tombstone id: tombstone (tombstone_codec.ts)
  "tombstones_by_time", // ms, tombstone id: path, of those whose object may be removed
  "tombstones_by_key", //  object key, NUL, tombstone id: path
  "meta", //               name: value, CRC-32C
] as const;

export type TableName = typeof TABLES[number];

/** The first schema (schema.ts) whose manifests have `table`. */
export function schemaOf(table: TableName): number {
  switch (table) {
    case "files_by_path":
    case "meta":
      return 1;
    case "tombstones_by_key":
      return 3;
    case "rows_by_id":
      return 4;
    default:
      return 2;
  }
}

/** One character per byte; compares as its bytes do. */
export type ByteKey = string;

export interface Write {
  readonly table: TableName;
  readonly key: ByteKey;
  /** Null removes the key, if it is there. */
  readonly value: Uint8Array | null;
}

export interface KeyRange {
  /** First key that is wanted. */
  readonly from: ByteKey;
  /** First key that is not wanted; null: to the end. */
  readonly before: ByteKey | null;
  readonly limit: number;
}

export interface KeyAndValue {
  readonly key: ByteKey;
  readonly value: Uint8Array;
}

export interface KeyValueReads {
  get(table: TableName, key: ByteKey): Uint8Array | null;
  keys(table: TableName, range: KeyRange): ByteKey[];
  /**
   * What `decode` makes of the value, which is the first `length` bytes that it is given, and
   * is that only until it returns; null if there is none. Nothing may be read meanwhile.
   */
  read<T>(
    table: TableName,
    key: ByteKey,
    decode: (bytes: Uint8Array, length: number) => T,
  ): T | null;
  /**
   * The row that `path` leads to, whose seal was checked; null says nothing, the tables do.
   * Nothing may be read while it is used.
   */
  sealedRow(path: DepotPath): SealedRow | null;
  range(table: TableName, range: KeyRange): KeyAndValue[];
}

/** The tables at one moment, for as long as it is held. The disk space stays taken. */
export interface KeyValueSnapshot extends KeyValueReads {
  done(): void;
}

/** Reads see the last commit that was acknowledged; within one turn they agree. */
export interface KeyValueStore extends KeyValueReads {
  snapshot(): KeyValueSnapshot;
  /** How many keys a table has; takes no longer where they are many. */
  count(table: TableName): number;
  /**
   * All of `writes` in their order, or none. Resolves when they are on the disk. One at a
   * time. @throws {ManifestError} `full` or `unavailable`: nothing was written.
   */
  commit(writes: readonly Write[]): Promise<void>;
  close(): Promise<void>;
}
