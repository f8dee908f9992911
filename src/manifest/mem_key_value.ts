/**
 * The manifest's tables in memory, for tests and models.
 *
 * @module
 */

import {
  type KeyAndValue,
  type KeyRange,
  type KeyValueSnapshot,
  type KeyValueStore,
  type TableName,
  TABLES,
  type Write,
} from "./key_value.ts";

class MemTable {
  readonly #values = new Map<string, Uint8Array>();
  readonly #keys: string[] = [];

  get(key: string): Uint8Array | null {
    return this.#values.get(key)?.slice() ?? null;
  }

  put(key: string, value: Uint8Array): void {
    if (!this.#values.has(key)) this.#keys.splice(this.#indexOf(key), 0, key);
    this.#values.set(key, value.slice());
  }

  remove(key: string): void {
    if (this.#values.delete(key)) this.#keys.splice(this.#indexOf(key), 1);
  }

  count(): number {
    return this.#keys.length;
  }

  range({ from, before, limit }: KeyRange): KeyAndValue[] {
    const found: KeyAndValue[] = [];
    for (let i = this.#indexOf(from); i < this.#keys.length; i++) {
      const key = this.#keys[i]!;
      if (found.length >= limit || (before !== null && key >= before)) break;
      found.push({ key, value: this.get(key)! });
    }
    return found;
  }

  /** Where the first key that is not less than `key` stands. */
  #indexOf(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Behind a value that is read, as where values are read into memory that is used again. */
const SPOILT_BYTES = 5;

/** Forgets everything at close. */
export class MemKeyValue implements KeyValueStore {
  readonly #tables = new Map<TableName, MemTable>(
    TABLES.map((name) => [name, new MemTable()]),
  );

  get(table: TableName, key: string): Uint8Array | null {
    return this.#tables.get(table)!.get(key);
  }

  /** The bytes are spoilt afterwards: who kept them finds out. */
  read<T>(
    table: TableName,
    key: string,
    decode: (bytes: Uint8Array, length: number) => T,
  ): T | null {
    const value = this.get(table, key);
    if (value === null) return null;
    const bytes = new Uint8Array(value.length + SPOILT_BYTES);
    bytes.set(value);
    try {
      return decode(bytes, value.length);
    } finally {
      bytes.fill(0xa5);
    }
  }

  sealedRow(): null {
    return null;
  }

  keys(table: TableName, range: KeyRange): string[] {
    return this.range(table, range).map(({ key }) => key);
  }

  range(table: TableName, range: KeyRange): KeyAndValue[] {
    return this.#tables.get(table)!.range(range);
  }

  count(table: TableName): number {
    return this.#tables.get(table)!.count();
  }

  commit(writes: readonly Write[]): Promise<void> {
    for (const { table, key, value } of writes) {
      if (value === null) this.#tables.get(table)!.remove(key);
      else this.#tables.get(table)!.put(key, value);
    }
    return Promise.resolve();
  }

  snapshot(): KeyValueSnapshot {
    const copy = new MemKeyValue();
    for (const table of TABLES) {
      const all = this.range(table, { from: "", before: null, limit: Infinity });
      for (const { key, value } of all) copy.#tables.get(table)!.put(key, value);
    }
    return {
      get: (table, key) => copy.get(table, key),
      read: (table, key, decode) => copy.read(table, key, decode),
      sealedRow: () => null,
      keys: (table, range) => copy.keys(table, range),
      range: (table, range) => copy.range(table, range),
      done: () => {},
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
