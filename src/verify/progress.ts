/**
 * Progress of a long run: one line that is written over on a terminal, else a line now and
 * then; with rate and, where the end is known, the time left.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { formatBytes } from "../core/units.ts";
import { formatDuration } from "./report.ts";
import type { Phase } from "./verify_types.ts";

const TERMINAL_EVERY_MS = 200;
const LINE_EVERY_MS = 30_000;
const BAR_CELLS = 20;

export interface ProgressOptions {
  readonly isTerminal: boolean;
  readonly clock: Clock;
  readonly write: (text: string) => void;
}

export class Progress {
  readonly #options: ProgressOptions;
  #phase: Phase | null = null;
  #startedMs = 0;
  #shownMs = 0;
  #calls = 0;
  #isOpen = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(phase: Phase, done: number, total: number): void {
    if (phase === this.#phase && (++this.#calls & 63) !== 0) return;
    const nowMs = this.#options.clock.monotonicMs();
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#startedMs = nowMs;
      this.#shownMs = nowMs;
    }
    const everyMs = this.#options.isTerminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS;
    if (nowMs - this.#shownMs < everyMs) return;
    this.#shownMs = nowMs;
    this.#show(formatProgress(phase, done, total, nowMs - this.#startedMs));
  }

  #show(text: string): void {
    if (this.#options.isTerminal) {
      this.#options.write(`\r\x1b[K${text}`);
      this.#isOpen = true;
    } else {
      this.#options.write(`${text}\n`);
    }
  }

  /** Clears the line, so that something else can be written. */
  clear(): void {
    if (!this.#isOpen) return;
    this.#options.write("\r\x1b[K");
    this.#isOpen = false;
  }
}

const UNITS: Readonly<Record<Phase, string>> = {
  "records": "bytes",
  "archives": "revisions",
  "store list": "objects",
  "disk": "files",
};

export function formatProgress(
  phase: Phase,
  done: number,
  total: number,
  elapsedMs: number,
): string {
  const perSecond = done / Math.max(elapsedMs, 1) * 1000;
  const amount = (value: number): string =>
    phase === "records" ? formatBytes(value) : String(Math.round(value));
  const rate = phase === "records"
    ? `${formatBytes(perSecond)}/s`
    : `${Math.round(perSecond)} ${UNITS[phase]}/s`;
  if (total === 0) return `${phase}: ${amount(done)}, ${rate}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR_CELLS);
  const bar = "#".repeat(filled) + "-".repeat(BAR_CELLS - filled);
  const leftMs = perSecond > 0 ? (total - done) / perSecond * 1000 : 0;
  return `${phase} [${bar}] ${amount(done)} of ${amount(total)}, ${rate}, ` +
    `${formatDuration(leftMs)} left`;
}
