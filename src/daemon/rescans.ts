/**
 * Scans of the depot for what may have been missed, whoever asks for them.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { WakeUp } from "../core/wake_up.ts";
import type { Engine } from "../engine/engine.ts";
import { SCAN } from "../engine/observe.ts";
import type { Logger } from "../obs/logger.ts";
import type { ScanRecord } from "./scan_record.ts";
import { messageOf } from "./state_directory.ts";

const SETTLED_LOOK_MS = 100;

/** Between a scan that could not look at everything and the next. */
const RETRY_MS_MAX = 3_600_000;

/** whole: it looked at everything. failed: it could not, and is done again. stopped: see the log. */
type ScanEnd = "whole" | "failed" | "stopped";

export interface RescansDeps {
  readonly engine: Pick<Engine, "scan">;
  readonly record: Pick<ScanRecord, "finished">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly rescanCooldownSecs: () => number;
  readonly signal: AbortSignal;
}

export class Rescans {
  readonly #deps: RescansDeps;
  readonly #wakeUp: WakeUp;
  #isWanted = false;
  #isRunning = false;
  /** Something may have been missed that no scan has begun to look for, or that this one does. */
  #mayMiss = { next: false, running: false };
  #last: ScanEnd = "whole";
  #failedCount = 0;

  constructor(deps: RescansDeps) {
    this.#deps = deps;
    this.#wakeUp = new WakeUp(deps.clock);
  }

  /** Of this session so far. */
  get failedCount(): number {
    return this.#failedCount;
  }

  /** How the last one ended. */
  get last(): ScanEnd {
    return this.#last;
  }

  /** Something may have been missed, and no scan has looked at everything since. */
  get isDue(): boolean {
    return this.#mayMiss.next || this.#mayMiss.running || this.#last !== "whole";
  }

  /** `mayMiss`: because something may have been missed. */
  request(mayMiss = true): void {
    this.#isWanted = true;
    this.#mayMiss.next ||= mayMiss;
    this.#wakeUp.wake();
  }

  /**
   * Resolves when no scan is outstanding, one that failed and waits or that stopped included: with
   * false if more have failed than `failedBefore`.
   */
  async settled(failedBefore: number, signal: AbortSignal): Promise<boolean> {
    if (this.#last !== "whole" && this.#failedCount === failedBefore) this.request();
    while (this.#isWanted || this.#isRunning) {
      if (this.#failedCount > failedBefore) return false;
      await this.#deps.clock.sleep(SETTLED_LOOK_MS, signal);
    }
    return this.#failedCount === failedBefore;
  }

  /**
   * One scan at a time; requests within the cooldown are one; one more if some come meanwhile.
   * One that fails is done again by itself at growing distances: what a disk refuses for good
   * is not worth a scan every minute.
   */
  async run(): Promise<void> {
    const { signal, clock, rescanCooldownSecs } = this.#deps;
    let failedInARow = 0;
    let waitMs = RETRY_MS_MAX;
    while (!signal.aborted) {
      await this.#wakeUp.wait(waitMs, signal);
      if (signal.aborted) return;
      if (!this.#isWanted && failedInARow === 0) continue;
      this.#isWanted = false;
      this.#isRunning = true;
      this.#mayMiss = { next: false, running: this.#mayMiss.next };
      try {
        this.#last = await this.#scan();
        failedInARow = this.#last === "failed" ? failedInARow + 1 : 0;
      } finally {
        this.#isRunning = false;
        this.#mayMiss.running = false;
      }
      const cooldownMs = rescanCooldownSecs() * 1000;
      await clock.sleep(cooldownMs, signal).catch(() => {});
      if (this.#isWanted) this.#wakeUp.wake();
      const doubled = Math.max(1_000, cooldownMs) * 2 ** (failedInARow - 1);
      waitMs = failedInARow === 0
        ? RETRY_MS_MAX
        : Math.max(0, Math.min(RETRY_MS_MAX, doubled) - cooldownMs);
    }
  }

  async #scan(): Promise<ScanEnd> {
    const { signal, engine, record, log } = this.#deps;
    try {
      const report = await engine.scan(SCAN);
      const { stopped, failing } = report;
      if (await record.finished(report)) return "whole";
      this.#failedCount += 1;
      if (stopped !== null) {
        log.error(`a scan stopped: ${stopped}`);
        return "stopped";
      }
      log.error("a scan could not look at everything and is done again", { failing });
      return "failed";
    } catch (error) {
      if (signal.aborted) return "failed";
      if (error instanceof Error && error.name === "InvariantError") throw error;
      log.error(`a scan failed and is tried again: ${messageOf(error)}`);
      this.#failedCount += 1;
      return "failed";
    }
  }
}
