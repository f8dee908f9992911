/**
 * A file of records that must outlive the daemon, one JSON object a line: the failed
 * operations and the failed uploads.
 *
 * Invariants: a record is on the disk when `append` returns; each record is a line of its
 * own whatever a crash or a full disk cut off before it. `x.log` is the newest file,
 * `x.log.1` the one before. One ledger object a path, in one process.
 *
 * @module
 */

import { dirname } from "node:path";
import type { Clock } from "../core/clock.ts";
import { openOwnFile } from "../core/own_file.ts";
import { MIB } from "../core/units.ts";

export interface LedgerOptions {
  readonly path: string;
  /** Begin a new file beyond this size; 0 for never. */
  readonly rotateMaxMb: number;
  /** How many older files to keep. */
  readonly keep: number;
  readonly clock: Clock;
}

export interface Ledger {
  /**
   * Adds `{"ts": <now>, ...record}` and waits for the disk.
   *
   * @throws {LedgerError} The record may or may not be there; the ledger can be used on.
   */
  append(record: Readonly<Record<string, unknown>>): void;
  close(): void;
}

/** A ledger could not be opened or written. */
export class LedgerError extends Error {
  override readonly name = "LedgerError";
}

/** @throws {LedgerError} */
export function openLedger(options: LedgerOptions): Ledger {
  return new JsonlLedger(options);
}

class JsonlLedger implements Ledger {
  readonly #options: LedgerOptions;
  readonly #maxBytes: number;
  #file: Deno.FsFile;
  #sizeBytes: number;
  /** The file does not end with a line feed. */
  #isTorn: boolean;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#maxBytes = options.rotateMaxMb === 0 ? Infinity : options.rotateMaxMb * MIB;
    try {
      this.#file = openDurably(options.path);
      this.#sizeBytes = this.#file.statSync().size;
      this.#isTorn = this.#sizeBytes > 0 && lastByteOf(this.#file) !== 0x0a;
    } catch (cause) {
      throw new LedgerError(`Cannot open ${quoted(options.path)}: ${textOf(cause)}`, {
        cause,
      });
    }
  }

  append(record: Readonly<Record<string, unknown>>): void {
    const ts = new Date(this.#options.clock.nowMs()).toISOString();
    const line = `${JSON.stringify({ ts, ...record })}\n`;
    try {
      this.#rotateBefore(line.length);
      this.#write(new TextEncoder().encode(this.#isTorn ? `\n${line}` : line));
      this.#file.syncDataSync();
    } catch (cause) {
      throw new LedgerError(
        `Cannot append to ${quoted(this.#options.path)}: ${textOf(cause)}`,
        { cause },
      );
    }
  }

  close(): void {
    this.#file.close();
  }

  #write(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      const count = this.#file.writeSync(rest);
      rest = rest.subarray(count);
      this.#sizeBytes += count;
      this.#isTorn = rest.length > 0;
    }
  }

  /** If it fails the file grows on: a record counts for more than a limit. */
  #rotateBefore(lineBytes: number): void {
    if (this.#sizeBytes === 0 || this.#sizeBytes + lineBytes <= this.#maxBytes) return;
    try {
      this.#rotate();
    } catch {
      return; // The next record tries again.
    }
    this.#sizeBytes = this.#file.statSync().size;
    this.#isTorn = false;
  }

  #rotate(): void {
    const { path, keep } = this.#options;
    if (keep === 0) return this.#file.truncateSync(0);
    for (let number = keep - 1; number >= 1; number--) {
      renameIfThere(`${path}.${number}`, `${path}.${number + 1}`);
    }
    renameIfThere(path, `${path}.1`);
    const next = openDurably(path);
    this.#file.close();
    this.#file = next;
  }
}

/** The name is on the disk too when this returns. */
function openDurably(path: string): Deno.FsFile {
  const file = openOwnFile(path, { read: true, append: true, mode: 0o640 });
  using directory = Deno.openSync(dirname(path), { read: true });
  directory.syncSync();
  return file;
}

function lastByteOf(file: Deno.FsFile): number | undefined {
  file.seekSync(-1, Deno.SeekMode.End);
  const byte = new Uint8Array(1);
  file.readSync(byte);
  return byte[0];
}

function renameIfThere(from: string, to: string): void {
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function quoted(path: string): string {
  return JSON.stringify(path);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
