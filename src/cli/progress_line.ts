/**
 * Progress of one long command: a bar that is written over on a terminal, else a line now
 * and then; with rate and the time left.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { formatBytes } from "../core/units.ts";
import { formatDuration } from "../verify/report.ts";

const TERMINAL_EVERY_MS = 200;
const LINE_EVERY_MS = 10_000;
const BAR_CELLS = 20;

export interface ProgressLineOptions {
  readonly verb: string;
  readonly unit: "bytes" | "files";
  readonly clock: Clock;
  readonly isTerminal: boolean;
  readonly write: (text: string) => void;
}

export class ProgressLine {
  readonly #options: ProgressLineOptions;
  readonly #startedMs: number;
  #shownMs: number;
  #isOpen = false;

  constructor(options: ProgressLineOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    this.#shownMs = this.#startedMs;
  }

  /** @param total 0 where it is not known. */
  update(done: number, total: number): void {
    const { clock, isTerminal, write } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#shownMs < (isTerminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS)) return;
    this.#shownMs = nowMs;
    const text = this.#format(done, total, nowMs - this.#startedMs);
    write(isTerminal ? `\r\x1b[K${text}` : `${text}\n`);
    this.#isOpen = isTerminal;
  }

  #format(done: number, total: number, elapsedMs: number): string {
    const { verb, unit } = this.#options;
    const amount = (value: number): string =>
      unit === "bytes" ? formatBytes(value) : String(Math.round(value));
    const perSecond = done / Math.max(1, elapsedMs) * 1000;
    const suffix = unit === "bytes" ? "" : " files";
    const rate = `${amount(perSecond)}${suffix}/s`;
    if (total === 0) return `${verb}: ${amount(done)}${suffix}, ${rate}`;
    const filled = Math.round(Math.min(1, done / total) * BAR_CELLS);
    const bar = "#".repeat(filled) + "-".repeat(BAR_CELLS - filled);
    const left = perSecond > 0
      ? `, ${formatDuration((total - done) / perSecond * 1000)} left`
      : "";
    return `${verb} [${bar}] ${amount(done)} of ${
      amount(total)
    }${suffix}, ${rate}${left}`;
  }

  /** Clears the line, so that something else can be written. */
  clear(): void {
    if (!this.#isOpen) return;
    this.#options.write("\r\x1b[K");
    this.#isOpen = false;
  }
}
