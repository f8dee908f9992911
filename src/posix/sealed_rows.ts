/**
 * Finds the row of a path in the manifest's file, in C (helpers/posix/sealed_rows.c): for every
 * open and every file of a scan. What a row means is src/manifest's.
 *
 * @module
 */

import type { BytePath } from "../core/names.ts";
import { PosixError } from "./posix_error.ts";
import type { Calls } from "./symbols.ts";

const ID_BYTES = 8;
/** Longer rows are left to LMDB, which keeps them on pages of their own. */
const ROW_BYTES_MAX = 4_096;
/** The longest key, and what a character may take that is not ASCII. */
const PATH_BYTES_MAX = 3 * 4_096;

/**
 * A row whose last four bytes are the CRC-32C of its path and of all before. Lies in memory that
 * the next search uses again.
 */
export interface SealedRow {
  /** The first `length` are the row. */
  readonly bytes: Uint8Array;
  readonly length: number;
  /** Its eight bytes in the table of rows, big-endian. */
  readonly id: Uint8Array;
}

export interface SealedRows {
  /**
   * From now on, rows are those of the newest commit. Nobody may be committing, now or in a
   * search. False: the file is not as LMDB leaves it, or cannot be mapped.
   */
  renew(): boolean;
  /** Null says nothing: whether there is a row, LMDB knows. */
  find(path: BytePath): SealedRow | null;
  close(): void;
}

/** Reads descriptors, by `openRead` and until `close` of the same library. */
export interface SealedRowFinder {
  /** Must be closed, before `fd` is. */
  sealedRows(fd: number): SealedRows;
}

export function openSealedRows(calls: Calls, fd: number): SealedRows {
  const out = new BigUint64Array(1);
  const result = calls.p4posix_rows_open(fd, new Uint8Array(out.buffer));
  if (result < 0) throw new PosixError("look up rows", "", -result);
  return new MappedRows(calls, Deno.UnsafePointer.create(out[0]!));
}

class MappedRows implements SealedRows {
  readonly #calls: Calls;
  #handle: Deno.PointerValue;
  readonly #path = new Uint8Array(PATH_BYTES_MAX);
  readonly #memory = new Uint8Array(ID_BYTES + ROW_BYTES_MAX);
  readonly #found = {
    id: this.#memory.subarray(0, ID_BYTES),
    bytes: this.#memory.subarray(ID_BYTES),
    length: 0,
  };

  constructor(calls: Calls, handle: Deno.PointerValue) {
    this.#calls = calls;
    this.#handle = handle;
  }

  renew(): boolean {
    return this.#handle !== null && this.#calls.p4posix_rows_renew(this.#handle) === 0;
  }

  find(path: BytePath): SealedRow | null {
    if (this.#handle === null) return null;
    const length = this.#calls.p4posix_rows_find(
      this.#handle,
      this.#path,
      this.#encode(path),
      this.#memory,
      this.#memory.length,
    );
    if (length < 0) return null;
    this.#found.length = length;
    return this.#found;
  }

  /** One byte per character: as UTF-8 if that is the same, which is made in half the time. */
  #encode(path: BytePath): number {
    const { read, written } = encoder.encodeInto(path, this.#path);
    if (read === path.length && written === read) return written;
    for (let i = 0; i < path.length; i++) this.#path[i] = path.charCodeAt(i);
    return path.length;
  }

  close(): void {
    if (this.#handle !== null) this.#calls.p4posix_rows_close(this.#handle);
    this.#handle = null;
  }
}

const encoder = new TextEncoder();
