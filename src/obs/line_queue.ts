/**
 * Lines for an output whose reader may stall: a pipe, a socket, a terminal that somebody has
 * stopped. They wait here and are written in order, one write at a time, so that a reader that does
 * not read costs one thread and so much memory, and never the event loop.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { MIB } from "../core/units.ts";
import { LineLosses } from "./line_losses.ts";

/** Some 30,000 lines. Those beyond are lost, and told. */
const WAITING_CHARACTERS_MAX = 4 * MIB;
/** A reader that is well takes what waits in far less. */
const SETTLE_MS_MAX = 2_000;

/** Resolves with how many bytes were taken, one at least. May never resolve. */
export type WriteBytes = (bytes: Uint8Array) => Promise<number>;

interface Waiting {
  readonly line: string;
  /** Lines after the one before it that found no room. */
  readonly lostBefore: number;
}

export class LineQueue {
  readonly #write: WriteBytes;
  readonly #clock: Clock;
  readonly #losses = new LineLosses();
  #waiting: Waiting[] = [];
  #waitingCharacters = 0;
  /** Lines that found no room since the last that did. */
  #turnedAway = 0;
  #writing: Promise<void> | null = null;

  constructor(write: WriteBytes, clock: Clock) {
    this.#write = write;
    this.#clock = clock;
  }

  /** `line` ends with a line feed. Never throws, never waits. */
  push(line: string): void {
    if (this.#waitingCharacters + line.length > WAITING_CHARACTERS_MAX) {
      this.#turnedAway++;
      return;
    }
    this.#waiting.push({ line, lostBefore: this.#turnedAway });
    this.#turnedAway = 0;
    this.#waitingCharacters += line.length;
    this.#writing ??= this.#writeAll();
  }

  /** Resolves when nothing waits any more, or after a short time: no stop waits for a reader. */
  async settled(): Promise<void> {
    if (this.#writing === null) return;
    const ended = new AbortController();
    const late = this.#clock.sleep(SETTLE_MS_MAX, ended.signal).catch(() => {});
    await Promise.race([this.#writing, late]);
    ended.abort();
  }

  async #writeAll(): Promise<void> {
    let last = "";
    while (this.#waiting.length > 0) {
      const taken = this.#waiting;
      this.#waiting = [];
      for (const { line, lostBefore } of taken) {
        this.#losses.add(lostBefore);
        const bytes = this.#losses.noted(line);
        this.#losses.judge(bytes, await this.#writeMost(bytes));
        this.#waitingCharacters -= line.length;
        last = line;
      }
      // The last of a burst: no line may come that could say so.
      if (this.#waiting.length === 0 && this.#turnedAway > 0) {
        this.#losses.add(this.#turnedAway);
        this.#turnedAway = 0;
        const note = this.#losses.note(last);
        this.#losses.judgeNote(note, await this.#writeMost(note));
      }
    }
    this.#writing = null;
  }

  /** Returns how many of the bytes were written. */
  async #writeMost(bytes: Uint8Array): Promise<number> {
    let count = 0;
    try {
      while (count < bytes.length) count += await this.#write(bytes.subarray(count));
    } catch {
      // The reader has left, or the disk is full: the caller sees it in the count.
    }
    return count;
  }
}
