/**
 * Typed reading of the manifest's tables: bytes to rows, tombstones and values, with
 * every mismatch between tables turned into a ManifestError. Nothing is cached.
 *
 * @module
 */

import {
  type DepotPath,
  type ObjectKey,
  objectKeyOf,
  textOfBytes,
  textWithin,
} from "../core/names.ts";
import { afterPrefix, u64At, u64Key } from "./byte_keys.ts";
import { textOf } from "./codec_text.ts";
import { decodeRowAndSum, decodeRowWithin, decodeSealedRow } from "./file_entry_codec.ts";
import { FormatError } from "./format_error.ts";
import { glanceAt } from "./row_glance.ts";
import {
  hasValues,
  indexKeyOf,
  type IndexTable,
  namesRowInValue,
  PRESENT,
} from "./row_index.ts";
import type { ByteKey, KeyAndValue, KeyRange, KeyValueReads } from "./key_value.ts";
import { decodeLedger, decodeMeta, type Ledger } from "./ledger.ts";
import {
  type Glance,
  type LocalStat,
  ManifestError,
  type Tombstone,
} from "./manifest.ts";
import type { KnownRow, Row } from "./row.ts";
import { decodeTombstone } from "./tombstone_codec.ts";

/** A row and where it stands. */
export interface PathAndRow {
  readonly path: DepotPath;
  readonly row: Row;
}

export const RECOVERY_HINT =
  "run `p4-cache check-manifest` for the extent and `p4-cache rebuild-manifest` to recover";

/** What to throw when `what` is not as it was written. */
export function damaged(what: string, cause?: unknown): ManifestError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new ManifestError("damaged", `${what} is damaged${why}; ${RECOVERY_HINT}`, {
    cause,
  });
}

/** Runs a decoder; its complaint becomes a ManifestError about `what()`. */
export function decoded<T>(what: () => string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    throw decodingFault(what(), error);
  }
}

/** What to throw when decoding `what` failed with `error`. */
function decodingFault(what: string, error: unknown): unknown {
  if (!(error instanceof FormatError) && !(error instanceof SyntaxError)) return error;
  if (error instanceof SyntaxError || error.fault !== "newer") {
    return damaged(what, error);
  }
  return new ManifestError(
    "newer",
    `Cannot read ${what}: ${error.message}; install the p4-cache that wrote it`,
    { cause: error },
  );
}

function decodedRow<T>(path: DepotPath, decode: () => T): T {
  return decoded(() => `The manifest's row of ${JSON.stringify(path)}`, decode);
}

/** The first `limit` entries whose key begins with `prefix`. */
export function rangeOfPrefix(prefix: string, limit: number): KeyRange {
  return { from: prefix, before: afterPrefix(prefix), limit };
}

export class ManifestReader {
  readonly #store: KeyValueReads;

  constructor(store: KeyValueReads) {
    this.#store = store;
  }

  row(path: DepotPath): Row | null {
    const sealed = this.#store.sealedRow(path);
    if (sealed !== null) {
      const { bytes, length } = sealed;
      return decodedRow(path, () => decodeSealedRow(path, bytes, length));
    }
    const key = this.#rowKeyOf(path);
    return key === null ? null : this.#rowAt(path, key);
  }

  /** What `path` has for its row's key; null: there is none. */
  #rowKeyOf(path: DepotPath): ByteKey | null {
    return this.#store.read("files_by_path", path, keyWithin);
  }

  #rowAt(path: DepotPath, key: ByteKey): Row {
    const row = this.#store.read("rows_by_id", key, (bytes, length) => {
      return decodedRow(path, () => decodeRowWithin(path, bytes, length));
    });
    if (row === null) throw lostRow(path);
    return row;
  }

  /** The row, with its checksums. */
  knownRow(path: DepotPath): KnownRow | null {
    const sealed = this.#store.sealedRow(path);
    if (sealed !== null) {
      const { id, bytes, length } = sealed;
      const key = textOfBytes(id);
      return decodedRow(path, () => decodeRowAndSum({ path, key }, bytes, length));
    }
    const key = this.#rowKeyOf(path);
    return key === null ? null : this.#knownRowAt(path, key);
  }

  #knownRowAt(path: DepotPath, key: ByteKey): KnownRow {
    const known = this.#store.read("rows_by_id", key, (bytes, length) => {
      return decodedRow(path, () => decodeRowAndSum({ path, key }, bytes, length));
    });
    if (known === null) throw lostRow(path);
    return known;
  }

  rows(range: KeyRange): PathAndRow[] {
    return this.#store.range("files_by_path", range).map(({ key, value }) => {
      const path = key as DepotPath;
      return { path, row: this.#rowAt(path, keyWithin(value, value.length)) };
    });
  }

  /** In the order of their ids. */
  rowsById(range: KeyRange): PathAndRow[] {
    return this.#store.range("rows_by_id", range).map(({ key, value }) => {
      const path = this.pathOf(key);
      if (path === null) {
        throw damaged(`The manifest's table paths_by_id (row ${u64At(key, 0)})`);
      }
      const row = decodedRow(path, () => decodeRowWithin(path, value, value.length));
      return { path, row };
    });
  }

  /** See {@linkcode Manifest.glance}. */
  glance(path: DepotPath, stat: LocalStat, isMarker: boolean): Glance {
    const sealed = this.#store.sealedRow(path);
    if (sealed !== null) return glanceAt(sealed.bytes, stat, isMarker);
    const key = this.#rowKeyOf(path);
    if (key === null) return "other";
    const look = (bytes: Uint8Array): Glance => glanceAt(bytes, stat, isMarker);
    return this.#store.read("rows_by_id", key, look) ?? "other";
  }

  paths(range: KeyRange): DepotPath[] {
    return this.#store.keys("files_by_path", range) as DepotPath[];
  }

  /**
   * The row that `entry` of `table` stands for.
   *
   * @throws {ManifestError} `damaged` if the row is not there or says otherwise.
   */
  indexed(table: IndexTable, entry: KeyAndValue): PathAndRow & KnownRow {
    const key = namesRowInValue(table) ? textOfBytes(entry.value) : entry.key.slice(-8);
    const path = key.length === 8 ? this.pathOf(key) : null;
    const known = path === null ? null : this.#knownRowAt(path, key);
    if (
      path === null || known === null ||
      indexKeyOf(table, path, known.row) !== entry.key
    ) {
      throw damaged(`The manifest's table ${table} (row ${u64At(key, 0)})`);
    }
    return { path, ...known };
  }

  /** The path of the row with that key; null: there is none. */
  pathOf(key: ByteKey): DepotPath | null {
    return this.#store.read("paths_by_id", key, (bytes, length) => {
      return textWithin(bytes, 0, length) as DepotPath;
    });
  }

  /** Values are read only where they say something. */
  indexEntries(table: IndexTable, range: KeyRange): KeyAndValue[] {
    if (hasValues(table)) return this.#store.range(table, range);
    return this.#store.keys(table, range).map((key) => ({ key, value: PRESENT }));
  }

  tombstones(range: KeyRange): Tombstone[] {
    return this.#store.range("tombstones", range).map(tombstoneFrom);
  }

  tombstone(path: DepotPath, id: number): Tombstone | null {
    return this.tombstoneAndBytes(tombstoneKey(path, id)).tombstone;
  }

  tombstoneAndBytes(
    key: string,
  ): { tombstone: Tombstone | null; bytes: Uint8Array | null } {
    const bytes = this.#store.get("tombstones", key);
    const tombstone = bytes === null ? null : tombstoneFrom({ key, value: bytes });
    return { tombstone, bytes };
  }

  /** Tombstones by age. */
  tombstonesByTime(range: KeyRange): Tombstone[] {
    return this.#tombstonesIn("tombstones_by_time", range);
  }

  /** Tombstones by the key of their object. */
  tombstonesByKey(range: KeyRange): Tombstone[] {
    return this.#tombstonesIn("tombstones_by_key", range);
  }

  /** The id is the last of the key, the path is the value. */
  #tombstonesIn(
    table: "tombstones_by_time" | "tombstones_by_key",
    range: KeyRange,
  ): Tombstone[] {
    return this.#store.range(table, range).map(({ key, value }) => {
      const id = u64At(key, key.length - 8);
      const found = this.tombstone(textOfBytes(value) as DepotPath, id);
      if (found === null) throw damaged(`The manifest's table ${table}`);
      return found;
    });
  }

  /** Of a table whose keys are an object's key, NUL and an id. */
  objectKeys(
    table: "keys_elsewhere" | "tombstones_by_key",
    range: KeyRange,
  ): { readonly entry: ByteKey; readonly key: ObjectKey }[] {
    return this.#store.keys(table, range).map((entry) => {
      const key = decoded(
        () => `The manifest's table ${table}`,
        () => objectKeyOf(textOf(entry.slice(0, -9))),
      );
      return { entry, key };
    });
  }

  meta(name: string): string | null {
    const value = this.#store.get("meta", name);
    if (value === null) return null;
    return decoded(() => `The manifest's ${name}`, () => decodeMeta(name, value));
  }

  ledger(): Ledger {
    const text = this.meta("counters");
    if (text === null) throw damaged("The manifest's table meta");
    return decoded(() => "The manifest's counters", () => decodeLedger(text));
  }

  /** See {@linkcode Manifest.format}. */
  format(): { schemaVersion: number; rowVersion: string } {
    return { schemaVersion: Number(this.meta("schema_version")), rowVersion: "v2" };
  }
}

/** A value that is a row's id, as the key that it is in other tables. */
function keyWithin(bytes: Uint8Array, length: number): ByteKey {
  if (length !== 8) throw damaged("The manifest's table files_by_path");
  // deno-fmt-ignore
  return String.fromCharCode(
    bytes[0]!, bytes[1]!, bytes[2]!, bytes[3]!, bytes[4]!, bytes[5]!, bytes[6]!, bytes[7]!,
  );
}

function lostRow(path: DepotPath): ManifestError {
  return damaged(`The manifest's table rows_by_id (row of ${JSON.stringify(path)})`);
}

/** Sorts by path, then age: tombstones of a path stand together, oldest first. */
export function tombstoneKey(path: DepotPath, id: number): string {
  return `${path}\0${u64Key(id)}`;
}

function tombstoneFrom({ key, value }: KeyAndValue): Tombstone {
  const path = key.slice(0, -9) as DepotPath;
  return decoded(
    () => `The manifest's tombstone of ${JSON.stringify(path)}`,
    () => decodeTombstone(path, value),
  );
}
