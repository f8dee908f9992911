/**
 * What journals change of a checkpoint's rows.
 *
 * Journals are read before the checkpoint. A set of bits remembers which rows they touch; a
 * row of the checkpoint that may be touched goes, with the journals' own, through a sort by
 * row key in which the last committed operation wins. Memory stays the same for any size of
 * either.
 *
 * @module
 */

import { type CaseRule, foldCase } from "../perforce/archive_path.ts";
import type { JournalRow, RowOp } from "../perforce/journal_scanner.ts";
import { keyColumns, RowError } from "../perforce/rows.ts";
import { ExternalSorter } from "./external_sort.ts";
import { KeySet } from "./key_set.ts";
import type { Scratch } from "./scratch.ts";

export class JournalOverlay {
  readonly #rows: ExternalSorter;
  readonly #touched = new KeySet();
  readonly #rule: () => CaseRule;
  #sequence = 0;
  #committed = 0;
  #uncommittedRows = 0;

  /** @param rule How the server compares keys; known before the first row. */
  constructor(scratch: Scratch, rule: () => CaseRule) {
    this.#rows = new ExternalSorter(scratch);
    this.#rule = rule;
  }

  /** Rows of a transaction without its end. After settled(). */
  get uncommittedRows(): number {
    return this.#uncommittedRows;
  }

  close(): void {
    this.#rows.close();
  }

  /** A row of a journal. @throws {RowError} */
  add(row: JournalRow): void {
    if (row.op === "vv") return;
    const key = this.#keyOf(row);
    this.#sequence++;
    this.#touched.add(key);
    this.#keep(key, this.#sequence, row);
  }

  /** The transaction of the rows so far is complete. */
  commit(): void {
    this.#committed = this.#sequence;
  }

  /** Takes a row of the checkpoint that a journal may touch. @throws {RowError} */
  takes(row: JournalRow): boolean {
    const key = this.#keyOf(row);
    if (!this.#touched.mayHave(key)) return false;
    this.#keep(key, 0, row);
    return true;
  }

  #keyOf(row: JournalRow): string {
    const columns = keyColumns(row.table);
    if (row.fields.length < columns) {
      throw new RowError(`A row of ${row.table} has no whole key`);
    }
    const key = [row.table, ...row.fields.slice(0, columns)].join("\x01");
    return foldCase(key, this.#rule());
  }

  #keep(key: string, sequence: number, row: JournalRow): void {
    if (row.fields.some((field) => field.includes("\0"))) {
      throw new RowError(`A row of ${row.table} has a NUL in it`);
    }
    const order = String(sequence).padStart(15, "0");
    this.#rows.add(
      [key, order, row.op, row.version, row.table, ...row.fields].join("\0"),
    );
  }

  /** The rows that are left, by the last committed operation on each key. */
  *settled(): Generator<JournalRow> {
    let key: string | null = null;
    let last: JournalRow | null = null;
    for (const record of this.#rows.sorted()) {
      const [recordKey, sequence, op, version, table, ...fields] = record.split("\0");
      if (recordKey !== key) {
        if (last !== null && last.op !== "dv") yield last;
        key = recordKey!;
        last = null;
      }
      if (Number(sequence) > this.#committed) {
        this.#uncommittedRows++;
        continue;
      }
      last = { op: op as RowOp, version: Number(version), table: table!, fields };
    }
    if (last !== null && last.op !== "dv") yield last;
    this.#rows.close();
  }
}
