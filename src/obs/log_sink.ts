/**
 * Where log lines go: standard output, or a file that is begun anew each day (UTC) and
 * beyond a size. A rotated file is the name with its last day and a number,
 * `p4-cache.log.2026-11-23.1`, and is removed when that day is old enough and enough later
 * days have files of theirs.
 *
 * Lines for a file are written with one write(2) each, at once, to a descriptor opened for
 * appending: those of before a crash are in it. Standard output is somebody else's to read, so they
 * wait for him in a queue.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import type { Clock } from "../core/clock.ts";
import { MIB } from "../core/units.ts";
import { LineLosses } from "./line_losses.ts";
import type { LineQueue } from "./line_queue.ts";

const DAY_MS = 86_400_000;

export interface LogSink {
  /** `line` ends with a line feed. Never throws: a full disk stops the log, nothing else. */
  write(line: string): void;
  close(): void;
}

export interface LogSinkOptions {
  /** Null for standard output, where rotation is somebody else's. */
  readonly file: string | null;
  /** Begin a new file beyond this size; 0 for days only. */
  readonly rotateMaxMb: number;
  /** Rotated files older than this are removed, if as many later days have any; 0 keeps all. */
  readonly retentionDays: number;
}

/**
 * @param standardOutput Where lines go if no file is named. It outlives every sink.
 * @throws The file system's error if the file cannot be opened.
 */
export function openLogSink(
  options: LogSinkOptions,
  standardOutput: LineQueue,
  clock: Clock,
): LogSink {
  if (options.file === null) {
    return { write: (line) => standardOutput.push(line), close: () => {} };
  }
  const file = new RotatingFile(options.file, options, clock);
  return {
    write: tellingOfLosses((bytes) => file.write(bytes)),
    close: () => file.close(),
  };
}

/**
 * Counts the lines that could not be written; the next one that can be is preceded by
 * their number.
 *
 * @param write Returns how many bytes it got rid of. Does not throw.
 */
export function tellingOfLosses(
  write: (bytes: Uint8Array) => number,
): (line: string) => void {
  const losses = new LineLosses();
  return (line) => {
    const bytes = losses.noted(line);
    losses.judge(bytes, write(bytes));
  };
}

/** Returns how many of the bytes were written. */
function writeMost(
  file: { writeSync(bytes: Uint8Array): number },
  bytes: Uint8Array,
): number {
  let count = 0;
  try {
    while (count < bytes.length) count += file.writeSync(bytes.subarray(count));
  } catch {
    // The caller sees it in the count.
  }
  return count;
}

class RotatingFile {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #retentionDays: number;
  readonly #clock: Clock;
  #file: Deno.FsFile;
  #sizeBytes: number;
  /** The day of the newest line. */
  #day: string;

  constructor(path: string, options: LogSinkOptions, clock: Clock) {
    this.#path = path;
    this.#maxBytes = options.rotateMaxMb === 0 ? Infinity : options.rotateMaxMb * MIB;
    this.#retentionDays = options.retentionDays;
    this.#clock = clock;
    this.#file = openForAppending(path);
    const info = this.#file.statSync();
    this.#sizeBytes = info.size;
    this.#day = dayOf(info.size > 0 ? info.mtime?.getTime() ?? 0 : clock.nowMs());
    this.#removeOld();
  }

  write(bytes: Uint8Array): number {
    const day = dayOf(this.#clock.nowMs());
    const isTooLarge = this.#sizeBytes + bytes.length > this.#maxBytes;
    if (this.#sizeBytes > 0 && (day !== this.#day || isTooLarge)) this.#rotate();
    this.#day = day;
    const count = writeMost(this.#file, bytes);
    this.#sizeBytes += count;
    return count;
  }

  close(): void {
    this.#file.close();
  }

  /** If any of it fails the lines go on into the file that is open. */
  #rotate(): void {
    try {
      renameIfThere(this.#path, this.#freeName());
      const next = openForAppending(this.#path);
      this.#file.close();
      this.#file = next;
      this.#sizeBytes = next.statSync().size;
      this.#removeOld();
    } catch {
      this.#sizeBytes = 0; // Another attempt after as much again, not at each line.
    }
  }

  #freeName(): string {
    let highest = 0;
    for (const { day, number } of this.#rotated()) {
      if (day === this.#day) highest = Math.max(highest, number);
    }
    return `${this.#path}.${this.#day}.${highest + 1}`;
  }

  #removeOld(): void {
    if (this.#retentionDays === 0) return;
    const oldestDay = dayOf(this.#clock.nowMs() - this.#retentionDays * DAY_MS);
    const rotated = [...this.#rotated()];
    // By the clock alone one that is set a year ahead, for one line, would leave nothing.
    const days = [...new Set(rotated.map(({ day }) => day))].sort().reverse();
    const kept = new Set(days.slice(0, this.#retentionDays));
    for (const { name, day } of rotated) {
      if (day >= oldestDay || kept.has(day)) continue;
      try {
        Deno.removeSync(join(dirname(this.#path), name));
      } catch {
        // Somebody else removed it, or may: the next rotation tries again.
      }
    }
  }

  /** By name, not by time stamp: a copied or touched file is as old as it says. */
  *#rotated(): Generator<{ name: string; day: string; number: number }> {
    const prefix = `${basename(this.#path)}.`;
    for (const { name } of Deno.readDirSync(dirname(this.#path))) {
      if (!name.startsWith(prefix)) continue;
      const match = /^(\d{4}-\d\d-\d\d)\.(\d{1,9})$/.exec(name.slice(prefix.length));
      if (match !== null) yield { name, day: match[1]!, number: Number(match[2]) };
    }
  }
}

/** It is not where somebody else has rotated it. */
function renameIfThere(from: string, to: string): void {
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function openForAppending(path: string): Deno.FsFile {
  return Deno.openSync(path, { append: true, create: true, mode: 0o640 });
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
