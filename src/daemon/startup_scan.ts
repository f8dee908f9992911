/**
 * What the daemon does behind its start: takes over the deletes that were written down, then
 * compares the depot with the manifest, at full speed or slowly.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import type { Clock } from "../core/clock.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import type { Engine } from "../engine/engine.ts";
import { SCAN } from "../engine/observe.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import { FAILED_DELETES_SETTLE_MS, type FailedDeletes } from "./failed_deletes.ts";
import type { ScanRecord } from "./scan_record.ts";
import type { ScanState } from "./status.ts";

export interface StartupScanDeps {
  readonly engine: Pick<Engine, "scan">;
  readonly deletes: Pick<FailedDeletes, "begin" | "finish">;
  readonly record: Pick<ScanRecord, "isWhole" | "finished">;
  readonly config: () => Pick<Config, "skipStartupScan" | "backgroundScanFilesPerSec">;
  /** Something could not be looked at: once more, later. */
  readonly requestRescan: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly signal: AbortSignal;
}

export class StartupScan {
  readonly #deps: StartupScanDeps;
  #state: ScanState = "unscanned";
  #waiting = 0;
  readonly #ended = Promise.withResolvers<void>();

  constructor(deps: StartupScanDeps) {
    this.#deps = deps;
  }

  /** `scanned`: once a scan, this one or one that was asked for, has looked at everything. */
  get state(): ScanState {
    return this.#deps.record.isWhole ? "scanned" : this.#state;
  }

  /** Deletes first: the scan puts back the marker of whatever is only missing. */
  async run(): Promise<void> {
    const { deletes, config, clock, signal } = this.#deps;
    await deletes.begin();
    const isSlow = config().skipStartupScan;
    this.#state = isSlow ? "catching-up" : "scanning";
    if (!isSlow) await this.#scan();
    await clock.sleep(FAILED_DELETES_SETTLE_MS, signal);
    await deletes.finish();
    if (isSlow) await this.#scan();
  }

  /** Resolves when it is over, or at once where none has begun. A slow one hurries until then. */
  async ended(signal: AbortSignal): Promise<void> {
    if (this.#state !== "scanning" && this.#state !== "catching-up") return;
    this.#waiting += 1;
    try {
      await unlessAborted(signal, this.#ended.promise);
    } finally {
      this.#waiting -= 1;
    }
  }

  #pace(): number | null {
    const isSlow = this.#state === "catching-up" && this.#waiting === 0;
    return isSlow ? this.#deps.config().backgroundScanFilesPerSec : null;
  }

  /** What failed, or could not be looked at, is left to the scans that are asked for then. */
  async #scan(): Promise<void> {
    const { engine, record, metrics, clock, log, signal, requestRescan } = this.#deps;
    const startedMs = clock.monotonicMs();
    metrics.count("p4cache_rescans_total", { reason: "startup" });
    try {
      const report = await engine.scan(SCAN, () => this.#pace());
      if (report.stopped !== null) {
        this.#state = "stopped";
        return log.error(`the scan stopped: ${report.stopped}`);
      }
      metrics.count("p4cache_unmanaged_long_paths_total", {}, report.unmanageable);
      if (!await record.finished(report)) {
        log.error("the scan could not look at everything and is done again", {
          failing: report.failing,
        });
        return requestRescan();
      }
      log.info("scanned the depot", {
        files: report.filesSeen,
        ms: Math.round(clock.monotonicMs() - startedMs),
        ...report.actions,
        ...report.unproven > 0 ? { unproven: report.unproven } : {},
      });
    } catch (error) {
      if (signal.aborted || !(error instanceof Error)) throw error;
      if (error.name === "InvariantError") throw error;
      log.error(`the scan failed and is tried again: ${error.message}`);
      requestRescan();
    } finally {
      this.#ended.resolve();
    }
  }
}
