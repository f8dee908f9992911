/**
 * Splits the bytes of a checkpoint or journal into records. Pure: bytes in, calls out.
 *
 *     record   = "@" op "@" *( " " field ) [ " " ] ( LF | CRLF )
 *     op       = pv | rv | dv | vv   then: version table column...
 *              | ex | mx             then: pid seconds
 *              | nx                  then: type seconds ...
 *     field    = "@" text "@" | bare        in text "@" is doubled, and lines may end
 *
 * The scanner keeps the bytes of a record only if its table is wanted, so memory does not
 * depend on how long a description or a file is. It is strict: a closing quote must be
 * followed by a space or the end of the line. That is what notices a lost or doubled quote at
 * once, where counting quotes would swallow good records until the next mistake. After a
 * malformed record it goes on at the next line that begins like one, so that a report may
 * still be useful; whoever sees `malformed > 0` must not call the input complete.
 *
 * Text stays bytes: one character per byte (0-255).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { assert } from "../core/assert.ts";

export type RowOp = "pv" | "rv" | "dv" | "vv";

/** A row of a wanted table. `fields` starts with the first column. */
export interface JournalRow {
  readonly op: RowOp;
  readonly version: number;
  readonly table: string;
  readonly fields: readonly string[];
}

/** What the scanner calls, in the order of the bytes. */
export interface JournalHandler {
  /** Asked once for each run of rows of one table. */
  wants(table: string): boolean;
  row(row: JournalRow): void;
  /** End of a transaction or section (`ex`), or a mark inside one (`mx`). */
  mark(kind: "ex" | "mx", timeS: number): void;
  /** A note: header (type 0), trailer (1), table section (4) and others. */
  note(type: number, timeS: number, fields: readonly string[]): void;
  /** A record whose operation is not known; it is skipped. */
  unknown(op: string): void;
  /** Bytes that are no record, at an offset from the start of the input. */
  malformed(offset: number, why: string): void;
}

/** How the input ended. */
export interface JournalEnd {
  readonly bytes: number;
  /** Rows by table, wanted or not. */
  readonly rowsByTable: ReadonlyMap<string, number>;
  /** The input stops inside a record. */
  readonly insideRecord: boolean;
}

const AT = 64;
const SPACE = 32;
const LF = 10;
const CR = 13;

/** Longest record of a wanted table: dozens of the longest paths. */
const WANTED_BYTES_MAX = 1 << 18;
/** A record's operation, version and table name fit in this. */
const HEAD_BYTES_MAX = 128;

/** Where the lexer is within a record. */
const BETWEEN = 0;
const BARE = 1;
const QUOTED = 2;
/** A quote inside a quoted field: the field ends, or a doubled quote follows. */
const CLOSING = 3;

type Mode = "start" | "record" | "resync";

export class JournalScanner {
  readonly #handler: JournalHandler;
  #mode: Mode = "start";
  #lex = BETWEEN;
  #wanted = false;
  /** Where the columns begin, from the start of the record; 0 if it is no row. */
  #columnsAt = 0;
  /** The bytes of the record under way, where they are needed. */
  #rest: Uint8Array | null = null;
  /** Offset in the input of the first byte that is not yet consumed. */
  #offset = 0;
  readonly #rowsByTable = new Map<string, number>();
  /** Rows of #table that are not yet in #rowsByTable. */
  #tableRows = 0;
  #table = "";
  #tableBytes: Uint8Array = new Uint8Array(0);
  #tableWanted = false;

  constructor(handler: JournalHandler) {
    this.#handler = handler;
  }

  /** Takes the next bytes, of any length. They are not kept after the call. */
  push(chunk: Uint8Array): void {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    // Bytes of #rest have been lexed already when a record is under way.
    let at = 0;
    if (this.#rest !== null) {
      bytes = Buffer.concat([this.#rest, chunk]);
      if (this.#mode === "record") at = this.#rest.length;
      this.#rest = null;
    }
    this.#consume(bytes, at);
  }

  /** The input is at its end. */
  finish(): JournalEnd {
    const rest = this.#rest ?? new Uint8Array(0);
    this.#rest = null;
    const inside = this.#mode === "record" || rest.length > 0;
    this.#offset += rest.length;
    this.#countTable();
    return {
      bytes: this.#offset,
      rowsByTable: this.#rowsByTable,
      insideRecord: inside,
    };
  }

  #countTable(): void {
    if (this.#tableRows === 0) return;
    const before = this.#rowsByTable.get(this.#table) ?? 0;
    this.#rowsByTable.set(this.#table, before + this.#tableRows);
    this.#tableRows = 0;
  }

  #consume(bytes: Buffer, from: number): void {
    let at = from;
    let recordStart = 0;
    while (at < bytes.length) {
      if (this.#mode === "resync") {
        const next = findRecordStart(bytes, at);
        if (next < 0) return this.#keep(bytes, Math.max(at, bytes.length - 8));
        at = next;
        this.#mode = "start";
      }
      if (this.#mode === "start") {
        if (bytes[at] === LF || bytes[at] === CR) {
          at++;
          continue;
        }
        const opened = this.#openRecord(bytes, at);
        if (opened === "more") return this.#keep(bytes, at);
        if (opened === "malformed") {
          this.#malformed(at, "a record must begin with an operation such as @pv@");
          at++;
          continue;
        }
        recordStart = at;
        this.#mode = "record";
        this.#lex = BETWEEN;
      }
      const end = this.#lexRecord(bytes, at);
      if (end >= 0) {
        if (this.#wanted) this.#emit(bytes, recordStart, end);
        this.#mode = "start";
        at = end + 1;
      } else if (end === RECORD_OPEN) {
        if (this.#wanted && bytes.length - recordStart <= WANTED_BYTES_MAX) {
          return this.#keep(bytes, recordStart);
        }
        if (this.#wanted) this.#malformed(recordStart, "a record is longer than 256 KiB");
        return this.#keep(bytes, bytes.length);
      } else {
        const bad = -end - 2;
        this.#malformed(
          bad,
          "a closing @ is not followed by a space or the end of the line",
        );
        at = Math.max(0, bad - 4);
      }
    }
    this.#keep(bytes, bytes.length);
  }

  #malformed(at: number, why: string): void {
    this.#handler.malformed(this.#offset + at, why);
    this.#mode = "resync";
  }

  /** Keeps what follows `from` for the next call; what is before it is done with. */
  #keep(bytes: Uint8Array, from: number): void {
    this.#offset += from;
    // Buffer's own slice() is a view; the caller may use its memory again.
    this.#rest = from < bytes.length ? new Uint8Array(bytes.subarray(from)) : null;
  }

  /** Reads operation and table; sets #wanted. */
  #openRecord(bytes: Buffer, at: number): "ok" | "more" | "malformed" {
    if (bytes.length - at < 5) {
      return looksLikeStart(bytes, at) ? "more" : "malformed";
    }
    if (
      bytes[at] !== AT || bytes[at + 3] !== AT || bytes[at + 4] !== SPACE
    ) return "malformed";
    if (!isRowOp(bytes[at + 1]!, bytes[at + 2]!)) {
      this.#wanted = true;
      this.#columnsAt = 0;
      return "ok";
    }
    const open = bytes.indexOf(AT, at + 5);
    const close = open < 0 ? -1 : bytes.indexOf(AT, open + 1);
    if (close < 0 || close - at > HEAD_BYTES_MAX) {
      return bytes.length - at < HEAD_BYTES_MAX ? "more" : "malformed";
    }
    if (!this.#isSameTable(bytes, open + 1, close)) {
      this.#countTable();
      this.#tableBytes = new Uint8Array(bytes.subarray(open + 1, close));
      this.#table = bytes.toString("latin1", open + 1, close);
      this.#tableWanted = this.#handler.wants(this.#table);
    }
    this.#wanted = this.#tableWanted;
    this.#columnsAt = close + 1 - at;
    this.#tableRows++;
    return "ok";
  }

  #isSameTable(bytes: Uint8Array, from: number, to: number): boolean {
    const name = this.#tableBytes;
    if (to - from !== name.length) return false;
    for (let i = 0; i < name.length; i++) if (bytes[from + i] !== name[i]) return false;
    return true;
  }

  /**
   * Lexes on from `from`. The offset of the LF that ends the record; RECORD_OPEN if there is
   * none yet; -2 - offset where a quote stands wrong.
   */
  #lexRecord(bytes: Uint8Array, from: number): number {
    let lex = this.#lex;
    const length = bytes.length;
    for (let i = from; i < length; i++) {
      const byte = bytes[i]!;
      if (lex === QUOTED) {
        if (byte === AT) lex = CLOSING;
      } else if (lex === CLOSING) {
        if (byte === AT) lex = QUOTED;
        else if (byte === SPACE || byte === CR) lex = BETWEEN;
        else if (byte === LF) return i;
        else return -2 - i;
      } else if (byte === LF) {
        return i;
      } else if (byte === SPACE || byte === CR) {
        lex = BETWEEN;
      } else if (lex === BETWEEN) {
        lex = byte === AT ? QUOTED : BARE;
      } else if (byte === AT) {
        return -2 - i;
      }
    }
    this.#lex = lex;
    return RECORD_OPEN;
  }

  #emit(bytes: Buffer, start: number, end: number): void {
    if (this.#columnsAt > 0) {
      this.#handler.row({
        op: ROW_OPS[bytes[start + 1]!]!,
        version: integer(
          bytes.toString("latin1", start + 5, bytes.indexOf(SPACE, start + 5)),
        ),
        table: this.#table,
        fields: splitFields(bytes.toString("latin1", start + this.#columnsAt, end)),
      });
      return;
    }
    const op = bytes.toString("latin1", start + 1, start + 3);
    if (op !== "ex" && op !== "mx" && op !== "nx") return this.#handler.unknown(op);
    const fields = splitFields(bytes.toString("latin1", start + 5, end));
    const [first, timeS] = [integer(fields[0]), integer(fields[1])];
    if (Number.isNaN(first) || Number.isNaN(timeS)) {
      const why = `a @${op}@ record does not begin with two numbers`;
      this.#handler.malformed(this.#offset + start, why);
    } else if (op === "nx") {
      this.#handler.note(first, timeS, fields.slice(2));
    } else {
      this.#handler.mark(op, timeS);
    }
  }
}

/** By the first letter of the operation. */
const ROW_OPS: Readonly<Record<number, RowOp>> = {
  112: "pv",
  114: "rv",
  100: "dv",
  118: "vv",
};

/** NaN for what is no plain number. */
function integer(text: string | undefined): number {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : NaN;
}

/** Answer of the lexer: no end of the record in these bytes. */
const RECORD_OPEN = -1;

function isRowOp(first: number, second: number): boolean {
  // p r d v, followed by v
  return second === 118 &&
    (first === 112 || first === 114 || first === 100 || first === 118);
}

function looksLikeStart(bytes: Uint8Array, at: number): boolean {
  const lower = (byte: number | undefined): boolean =>
    byte === undefined || (byte >= 97 && byte <= 122);
  const is = (byte: number | undefined, wanted: number): boolean =>
    byte === undefined || byte === wanted;
  return is(bytes[at], AT) && lower(bytes[at + 1]) && lower(bytes[at + 2]) &&
    is(bytes[at + 3], AT) && is(bytes[at + 4], SPACE);
}

/** The offset of the next `@` that opens a line like a record does; -1 if there is none. */
function findRecordStart(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length; at++) {
    const lf = bytes.indexOf(LF, at);
    if (lf < 0 || lf + 6 > bytes.length) return -1;
    if (looksLikeStart(bytes, lf + 1)) return lf + 1;
    at = lf;
  }
  return -1;
}

/** The fields of a record that the lexer found well-formed, without its operation. */
export function splitFields(text: string): string[] {
  const fields: string[] = [];
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === SPACE || code === CR) {
      at++;
    } else if (code === AT) {
      let close = text.indexOf("@", at + 1);
      let isEscaped = false;
      while (close >= 0 && text.charCodeAt(close + 1) === AT) {
        isEscaped = true;
        close = text.indexOf("@", close + 2);
      }
      assert(close > at, "a field that the lexer closed has no closing quote");
      const value = text.slice(at + 1, close);
      fields.push(isEscaped ? value.replaceAll("@@", "@") : value);
      at = close + 1;
    } else {
      let end = text.indexOf(" ", at);
      if (end < 0) end = text.length;
      fields.push(text.slice(at, text.charCodeAt(end - 1) === CR ? end - 1 : end));
      at = end;
    }
  }
  return fields;
}
