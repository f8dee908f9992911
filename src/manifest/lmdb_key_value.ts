/**
 * The manifest's tables in LMDB. Owns every call into `lmdb`, and its quirks; lmdb_faults.ts knows
 * which of its errors mean what.
 *
 * - Commits are plain ones (`overlappingSync: false`): the promise resolves after the
 *   fsync of the data and the write-through of the meta page.
 * - A put that `lmdb` refuses, followed by close(), ends the process with an uncaught
 *   error; so what it would refuse (a key too long) is asserted before, and close() comes
 *   after the last commit has ended.
 * - Opening it beside a process that commits undoes commits: data_file_lock.ts keeps both apart.
 *
 * @module
 */

import { lchownSync, lstatSync } from "node:fs";
import {
  type Database,
  open,
  type RangeOptions,
  type RootDatabase,
  type Transaction,
} from "lmdb";
import { assert } from "../core/assert.ts";
import { type DepotPath, textWithin } from "../core/names.ts";
import type { SealedRow } from "../posix/sealed_rows.ts";
import { DataFileLock } from "./data_file_lock.ts";
import {
  type KeyAndValue,
  type KeyRange,
  type KeyValueSnapshot,
  type KeyValueStore,
  schemaOf,
  type TableName,
  TABLES,
  type Write,
} from "./key_value.ts";
import {
  cannotOpen,
  commitErrorOf,
  openFault,
  READERS_MAX,
  reading,
  writeFault,
} from "./lmdb_faults.ts";
import { ManifestError } from "./manifest.ts";
import { type NativeReads, PAGE_BYTES } from "./page_file.ts";
import { damaged } from "./reader.ts";
import { RowFinder } from "./row_finder.ts";

/** With pages of 8,192 bytes. */
const KEY_BYTES_MAX = 4_026;

export const DATA_FILE = "data.mdb";
/** Written by whoever opens the manifest, also if only to read. */
export const LOCK_FILE = "lock.mdb";

/** Keys are byte strings on our side, so that no buffer is made for each. */
const BYTE_KEYS = {
  writeKey(key: string, target: Uint8Array, start: number): number {
    for (let i = 0; i < key.length; i++) target[start + i] = key.charCodeAt(i);
    return start + key.length;
  },
  readKey: textWithin,
};

/**
 * The writing thread begins with the first writes of a batch, while we hand over the rest; by
 * default it waits for the end of a batch of up to a thousand, and for the next turn. Not in the
 * types of `lmdb`; without them, commits are only slower.
 */
const WRITER_FOLLOWS = { batchStartThreshold: 1, txnStartThreshold: 1 };

type Table = Database<Uint8Array, string>;

export interface LmdbOptions {
  readonly readOnly: boolean;
  /** Make the tables. Otherwise each must be there. */
  readonly create: boolean;
  /** Makes looking up rows faster, for the only writer. */
  readonly native?: NativeReads | undefined;
}

export class LmdbKeyValue implements KeyValueStore {
  readonly #directory: string;
  readonly #root: RootDatabase<Uint8Array, string>;
  readonly #tables: Map<TableName, Table>;
  readonly #lock: DataFileLock;
  readonly #finder: RowFinder | null;
  /** Under way. */
  #copies = 0;

  /** @throws {ManifestError} */
  static async open(directory: string, options: LmdbOptions): Promise<LmdbKeyValue> {
    refuseLinks(directory);
    const open = (): LmdbKeyValue => new LmdbKeyValue(directory, options);
    try {
      return await DataFileLock.whileOpening(`${directory}/${DATA_FILE}`, open);
    } catch (error) {
      if (error instanceof ManifestError) throw error;
      // Of the lock: that the file cannot be had says nothing against what is in it.
      throw cannotOpen(directory, error);
    }
  }

  private constructor(directory: string, { readOnly, create, native }: LmdbOptions) {
    this.#directory = directory;
    this.#root = openRoot(directory, readOnly);
    leaveLocksTo(directory);
    try {
      this.#tables = openTables(this.#root, directory, create);
    } catch (error) {
      void this.#root.close();
      throw error;
    }
    const dataFile = `${directory}/${DATA_FILE}`;
    try {
      this.#lock = DataFileLock.of(dataFile);
    } catch (error) {
      void this.#root.close();
      throw error;
    }
    try {
      const isWriter = native !== undefined && !readOnly;
      this.#finder = isWriter ? new RowFinder(native, dataFile) : null;
    } catch (error) {
      void this.#root.close();
      this.#lock.close();
      throw error;
    }
  }

  #table(name: TableName): Table {
    const table = this.#tables.get(name);
    if (table === undefined) throw missing(this.#directory, name);
    return table;
  }

  get(table: TableName, key: string): Uint8Array | null {
    return getFrom(this.#table(table), key, {});
  }

  read<T>(table: TableName, key: string, decode: Decode<T>): T | null {
    return readFrom(this.#table(table), { key, decode }, {});
  }

  sealedRow(path: DepotPath): SealedRow | null {
    return this.#finder?.find(path) ?? null;
  }

  keys(table: TableName, range: KeyRange): string[] {
    return keysOf(this.#table(table), range, {});
  }

  range(table: TableName, range: KeyRange): KeyAndValue[] {
    return rangeOf(this.#table(table), range, {});
  }

  count(table: TableName): number {
    const stats = reading(() => this.#table(table).getStats());
    return (stats as { readonly entryCount: number }).entryCount;
  }

  snapshot(): KeyValueSnapshot {
    const transaction = reading(() => this.#root.useReadTransaction());
    return {
      get: (table, key) => getFrom(this.#table(table), key, { transaction }),
      read: (table, key, decode) =>
        readFrom(this.#table(table), { key, decode }, { transaction }),
      sealedRow: () => null,
      keys: (table, range) => keysOf(this.#table(table), range, { transaction }),
      range: (table, range) => rangeOf(this.#table(table), range, { transaction }),
      done: () => transaction.done(),
    };
  }

  /** `lmdb` holds the values, and asks for the address of each buffer once. */
  async commit(writes: readonly Write[]): Promise<void> {
    for (const { key } of writes) {
      assert(key.length > 0 && key.length <= KEY_BYTES_MAX, "The key has a wrong length");
    }
    try {
      const write = () => this.#write(writes);
      const finder = this.#finder;
      // What the lock refuses is not written, and leaves no commit under way.
      await this.#lock.whileCommitting(() =>
        finder === null ? write() : finder.whileCommitting(write)
      );
    } catch (error) {
      throw writeFault(await commitErrorOf(error), this.#directory);
    }
    this.#root.resetReadTxn();
  }

  async #write(writes: readonly Write[]): Promise<void> {
    await this.#root.batch(() => {
      for (const { table, key, value } of writes) {
        if (value === null) void this.#table(table).remove(key);
        else void this.#table(table).put(key, value);
      }
    });
  }

  /** A consistent copy as the data file in the directory `directory`. */
  async copyTo(directory: string): Promise<void> {
    this.#copies += 1;
    try {
      await this.#root.backup(directory, false);
    } catch (error) {
      throw writeFault(error, directory);
    } finally {
      this.#copies -= 1;
    }
  }

  /**
   * While a copy is under way nothing is closed: nobody can end one, and the thread that makes it
   * would read what is not mapped any more. The end of the process does both.
   */
  async close(): Promise<void> {
    if (this.#copies > 0) return;
    try {
      await this.#root.close();
    } finally {
      this.#finder?.close();
      this.#lock.close();
    }
  }
}

/**
 * LMDB follows a link, and makes the file that it leads to: a command that root gives would write
 * wherever the manifest's owner likes.
 */
function refuseLinks(directory: string): void {
  for (const name of [DATA_FILE, LOCK_FILE]) {
    const path = `${directory}/${name}`;
    if (!isLink(path)) continue;
    const why = `${path} is a symbolic link, put the file itself there`;
    throw new ManifestError("unavailable", `Cannot open the manifest: ${why}`);
  }
}

/** What cannot be looked at, the opening tells. */
function isLink(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSymlink;
  } catch {
    return false;
  }
}

function missing(directory: string, table: TableName): ManifestError {
  return damaged(`${directory}/${DATA_FILE}: its table ${table} is missing; it`);
}

function openRoot(
  directory: string,
  readOnly: boolean,
): RootDatabase<Uint8Array, string> {
  try {
    return open<Uint8Array, string>({
      path: directory,
      noSubdir: false,
      pageSize: PAGE_BYTES,
      maxDbs: TABLES.length + 5,
      maxReaders: READERS_MAX,
      encoding: "binary",
      keyEncoder: BYTE_KEYS,
      overlappingSync: false,
      // Each commit is one explicit batch; a batch around it would have a promise of its
      // own, whose rejection nobody could catch.
      eventTurnBatching: false,
      ...WRITER_FOLLOWS,
      readOnly,
    });
  } catch (error) {
    throw openFault(directory, error);
  }
}

/** Root who looks at the manifest of `p4d`'s user makes the file of the locks, not for itself. */
function leaveLocksTo(directory: string): void {
  if (Deno.uid() !== 0) return;
  const path = `${directory}/${LOCK_FILE}`;
  const { uid, gid } = lstatSync(`${directory}/${DATA_FILE}`);
  const locks = lstatSync(path, { throwIfNoEntry: false });
  // Nobody is given a file of root's by a link that he has put there.
  if (locks?.nlink === 1 && locks.uid !== uid) lchownSync(path, uid, gid);
}

/** A table that an older schema does not have is missed when it is asked for. */
function openTables(
  root: RootDatabase<Uint8Array, string>,
  directory: string,
  create: boolean,
): Map<TableName, Table> {
  const tables = new Map<TableName, Table>();
  for (const name of TABLES) {
    const table = openTable(root, name, { directory, create });
    if (table !== null) tables.set(name, table);
    else if (schemaOf(name) <= 2) throw missing(directory, name);
  }
  return tables;
}

function openTable(
  root: RootDatabase<Uint8Array, string>,
  name: TableName,
  { directory, create }: { readonly directory: string; readonly create: boolean },
): Table | null {
  const options = { encoding: "binary" as const, keyEncoder: BYTE_KEYS, create };
  try {
    const table = root.openDB<Uint8Array, string>(name, options);
    return (table as Table | undefined) ?? null;
  } catch (error) {
    // One that is made is a commit of its own.
    throw create ? writeFault(error, directory) : openFault(directory, error);
  }
}

type InTransaction = { transaction?: Transaction };

function getFrom(table: Table, key: string, options: InTransaction): Uint8Array | null {
  return reading(() => table.get(key, options) ?? null);
}

type Decode<T> = (bytes: Uint8Array, length: number) => T;

/** As `lmdb` has it, though its types do not say so; without the options' part of them. */
interface FastReads {
  getBinaryFast(key: string, options: InTransaction): Uint8Array | undefined;
  /** Of the value that was read last. */
  readonly lastSize: number;
}

/** The value lies in memory that the next read uses again: no copy is made of it. */
function readFrom<T>(
  table: Table,
  { key, decode }: { readonly key: string; readonly decode: Decode<T> },
  options: InTransaction,
): T | null {
  const fast = table as unknown as FastReads;
  const bytes = reading(() => fast.getBinaryFast(key, options));
  return bytes === undefined ? null : decode(bytes, fast.lastSize);
}

/** LMDB has no empty keys; a range from the start begins at the smallest one. */
function optionsOf({ from, before, limit }: KeyRange): RangeOptions {
  const start = from === "" ? "\0" : from;
  return before === null ? { start, limit } : { start, end: before, limit };
}

function keysOf(table: Table, range: KeyRange, inTransaction: InTransaction): string[] {
  return reading(() => [...table.getKeys({ ...optionsOf(range), ...inTransaction })]);
}

function rangeOf(
  table: Table,
  range: KeyRange,
  inTransaction: InTransaction,
): KeyAndValue[] {
  return reading(() => {
    const found: KeyAndValue[] = [];
    for (const entry of table.getRange({ ...optionsOf(range), ...inTransaction })) {
      found.push({ key: entry.key, value: entry.value });
    }
    return found;
  });
}
