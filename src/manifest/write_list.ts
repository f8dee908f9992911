/**
 * The writes of one group, and what they do to the sums of all contents. Removals come
 * first: what one row gives up another may take.
 *
 * @module
 */

import { entryCrc32 } from "./crc32c.ts";
import type { ByteKey, TableName, Write } from "./key_value.ts";
import { replaceInSum, type Sums } from "./ledger.ts";

export class WriteList {
  readonly #removals: Write[] = [];
  readonly #puts: Write[] = [];
  #contentSum: number;
  #rowsSum: number;

  /** Given those of the tables before these writes. */
  constructor({ contentSum, rowsSum }: Sums) {
    this.#contentSum = contentSum;
    this.#rowsSum = rowsSum;
  }

  /** Once the writes are done. */
  get sums(): Sums {
    return { contentSum: this.#contentSum, rowsSum: this.#rowsSum };
  }

  /** A key that is not there now. `sum` is the checksum of the entry. */
  put(
    table: TableName,
    key: ByteKey,
    value: Uint8Array,
    sum: number = entryCrc32(key, value),
  ): void {
    this.#puts.push({ table, key, value });
    this.#replace(table, 0, sum);
  }

  /** A key that has the value `before` now. */
  remove(table: TableName, key: ByteKey, before: Uint8Array): void {
    this.#removals.push({ table, key, value: null });
    this.#replace(table, entryCrc32(key, before), 0);
  }

  /** Makes the entry at `key` whose checksum is `before` into `now`; null: not there. */
  replace(
    table: TableName,
    key: ByteKey,
    { before, now }: {
      readonly before: number | null;
      readonly now: { readonly bytes: Uint8Array; readonly sum: number } | null;
    },
  ): void {
    if (before !== null) this.#replace(table, before, 0);
    if (now !== null) this.put(table, key, now.bytes, now.sum);
    else if (before !== null) this.#removals.push({ table, key, value: null });
  }

  /** An entry of `meta`, which is not in the sum; null: none. */
  putMeta(key: ByteKey, value: Uint8Array | null): void {
    this.#puts.push({ table: "meta", key, value });
  }

  #replace(table: TableName, before: number, now: number): void {
    if (table === "rows_by_id") this.#rowsSum = replaceInSum(this.#rowsSum, before, now);
    else this.#contentSum = replaceInSum(this.#contentSum, before, now);
  }

  all(): Write[] {
    return [...this.#removals, ...this.#puts];
  }
}
