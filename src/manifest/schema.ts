/**
 * Which layout the tables have, as the table `meta` says it.
 *
 * @module
 */

import type { Write } from "./key_value.ts";
import { EMPTY_LEDGER, encodeLedger, encodeMeta } from "./ledger.ts";

/**
 * 1: rows of the systems before this one, in `files_by_path` alone, rows of versions
 * before 2. 2: all tables but two, rows of version 2; but a row whose path has the same bytes as
 * its key has characters was not in `keys_elsewhere`, also where the two name different files.
 * 3: it is, and there is `tombstones_by_key`. 4: rows are in `rows_by_id`, where those that
 * came together lie together, and `files_by_path` leads to them.
 */
export const SCHEMA_VERSION = 4;

/**
 * In `meta` while a migration is under way: the schema that it goes on from. From its first commit
 * `schema_version` is the one that it leads to, so that no build of before takes the manifest.
 */
export const MIGRATION_FROM = "migration_from";

/** What `meta` says of the layout. */
export interface Schema {
  readonly version: number;
  /** Null: no migration is under way, or a build began it that changed the version last. */
  readonly migrationFrom: number | null;
}

/** Which schema the manifest is to be brought to this one from; null: it is not older. */
export function olderSchemaOf({ version, migrationFrom }: Schema): number | null {
  if (version > SCHEMA_VERSION) return null;
  return migrationFrom ?? (version < SCHEMA_VERSION ? version : null);
}

/** What a new manifest holds. */
export function firstWrites(): Write[] {
  return [
    metaWrite("schema_version", String(SCHEMA_VERSION)),
    metaWrite("counters", encodeLedger(EMPTY_LEDGER)),
  ];
}

export function metaWrite(name: string, text: string): Write {
  return { table: "meta", key: name, value: encodeMeta(name, text) };
}
