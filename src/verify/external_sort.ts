/**
 * Sorts more records than memory holds: runs of bounded size are sorted and written to
 * scratch files, then merged.
 *
 * A record is a string with one character per byte; the order is that of the bytes. In a run
 * file each record follows its length (u32, little-endian).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type Scratch, writeAllSync } from "./scratch.ts";

/** Text of one run. With the strings' own overhead about three times as much memory. */
const RUN_BYTES_MAX = 32 << 20;
/** Overhead of a short string in a run, counted so that many short records are bounded too. */
const RECORD_OVERHEAD_BYTES = 32;
/**
 * So many runs of a level are merged into one of the next: few open files, and each record is
 * written once a level (64 runs of 32 MiB are 2 GiB, 64 of those 128 GiB).
 */
const FAN_IN = 64;
const READ_BYTES = 1 << 16;
/** Also the longest record: far more than two rows of a journal. */
const WRITE_BYTES = 1 << 20;

export class ExternalSorter {
  readonly #scratch: Scratch;
  readonly #runBytesMax: number;
  #run: string[] = [];
  #runBytes = 0;
  /** Run files by how often their records were merged. */
  readonly #levels: Deno.FsFile[][] = [];
  #count = 0;
  #buffer: Buffer | null = null;

  constructor(scratch: Scratch, runBytesMax = RUN_BYTES_MAX) {
    this.#scratch = scratch;
    this.#runBytesMax = runBytesMax;
  }

  /** Records added so far. */
  get count(): number {
    return this.#count;
  }

  add(record: string): void {
    this.#run.push(record);
    this.#count++;
    this.#runBytes += record.length + RECORD_OVERHEAD_BYTES;
    if (this.#runBytes > this.#runBytesMax) this.#spill();
  }

  #spill(): void {
    this.#run.sort();
    let file = this.#write(this.#run);
    this.#run = [];
    this.#runBytes = 0;
    for (let level = 0;; level++) {
      const files = this.#levels[level] ??= [];
      files.push(file);
      if (files.length < FAN_IN) return;
      file = this.#write(mergeRuns(files.map(readRun)));
      for (const merged of files) merged.close();
      this.#levels[level] = [];
    }
  }

  #write(records: Iterable<string>): Deno.FsFile {
    const file = this.#scratch.createFile();
    const buffer = this.#buffer ??= Buffer.allocUnsafe(WRITE_BYTES);
    let at = 0;
    for (const record of records) {
      if (at + 4 + record.length > buffer.length) {
        writeAllSync(file, buffer.subarray(0, at));
        at = 0;
      }
      if (4 + record.length > buffer.length) {
        throw new RangeError(`A record of ${record.length} bytes is too long to sort`);
      }
      buffer.writeUInt32LE(record.length, at);
      buffer.write(record, at + 4, "latin1");
      at += 4 + record.length;
    }
    writeAllSync(file, buffer.subarray(0, at));
    return file;
  }

  /**
   * All records in order. May be called again, also after an earlier iteration ended early;
   * only one iteration at a time.
   */
  *sorted(): Generator<string> {
    if (this.#levels.length === 0) {
      this.#run.sort();
      yield* this.#run;
      return;
    }
    if (this.#run.length > 0) this.#spill();
    yield* mergeRuns(this.#levels.flat().map(readRun));
  }

  close(): void {
    for (const file of this.#levels.flat()) file.close();
    this.#levels.length = 0;
    this.#run = [];
  }
}

function* readRun(file: Deno.FsFile): Generator<string> {
  let offset = 0;
  let buffer = Buffer.allocUnsafe(READ_BYTES);
  let held = 0;
  let at = 0;
  const fill = (needed: number): boolean => {
    if (held - at >= needed) return true;
    if (needed > buffer.length) {
      const larger = Buffer.allocUnsafe(needed + READ_BYTES);
      buffer.copy(larger, 0, at, held);
      buffer = larger;
    } else {
      buffer.copyWithin(0, at, held);
    }
    held -= at;
    at = 0;
    while (held < needed) {
      file.seekSync(offset, Deno.SeekMode.Start);
      const count = file.readSync(buffer.subarray(held));
      if (count === null || count === 0) return false;
      offset += count;
      held += count;
    }
    return true;
  };
  while (fill(4)) {
    const length = buffer.readUInt32LE(at);
    if (!fill(4 + length)) throw new Error("A scratch file ends inside a record");
    yield buffer.toString("latin1", at + 4, at + 4 + length);
    at += 4 + length;
  }
}

interface Head {
  record: string;
  readonly rest: Iterator<string>;
}

/** Merges sorted runs by a heap of their next records. */
function* mergeRuns(runs: readonly Iterator<string>[]): Generator<string> {
  const heap: Head[] = [];
  for (const rest of runs) {
    const first = rest.next();
    if (!first.done) heap.push({ record: first.value, rest });
  }
  heap.sort((a, b) => a.record < b.record ? -1 : a.record > b.record ? 1 : 0);
  while (heap.length > 0) {
    const top = heap[0]!;
    yield top.record;
    const next = top.rest.next();
    if (next.done) {
      const last = heap.pop()!;
      if (heap.length > 0) heap[0] = last;
    } else {
      top.record = next.value;
    }
    siftDown(heap);
  }
}

function siftDown(heap: Head[]): void {
  for (let at = 0;;) {
    const left = 2 * at + 1;
    if (left >= heap.length) return;
    const right = left + 1;
    const child = right < heap.length && heap[right]!.record < heap[left]!.record
      ? right
      : left;
    if (heap[at]!.record <= heap[child]!.record) return;
    [heap[at], heap[child]] = [heap[child]!, heap[at]!];
    at = child;
  }
}
