/**
 * What the daemon does behind its start: takes over the deletes that were written down, then
 * compares the depot with the manifest, at full speed or slowly.
 *
 * @module
 */

import type { Config } from "../config/key_table.ts";
import type { Clock } from "../core/clock.ts";
import { crashPoint } from "../core/crash_point.ts";
import type { Engine } from "../engine/engine.ts";
import type { LookReason } from "../engine/observe_plan.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import { FAILED_DELETES_SETTLE_MS, type FailedDeletes } from "./failed_deletes.ts";
import { readBootId } from "./foundation.ts";
import type { ScanState } from "./status.ts";

export interface StartupScanDeps {
  readonly engine: Pick<Engine, "scan">;
  readonly deletes: Pick<FailedDeletes, "drain" | "finish">;
  readonly manifest: Pick<Manifest, "meta" | "setMeta">;
  readonly config: () => Config;
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

  get state(): ScanState {
    return this.#state;
  }

  /** Deletes first: the scan puts back the marker of whatever is only missing. */
  async run(): Promise<void> {
    const { deletes, config, clock, log, signal } = this.#deps;
    await deletes.drain();
    const isSlow = config().skipStartupScan;
    this.#state = isSlow ? "catching-up" : "scanning";
    if (!isSlow) await this.#scan();
    await clock.sleep(FAILED_DELETES_SETTLE_MS, signal);
    const { recorded, applied } = await deletes.finish();
    if (recorded > 0) {
      log.warn("took over deletes that the shim could not report", { recorded, applied });
    }
    if (isSlow) await this.#scan();
  }

  /** Resolves when it is over, or at once where none has begun. A slow one hurries until then. */
  async ended(signal: AbortSignal): Promise<void> {
    if (this.#state !== "scanning" && this.#state !== "catching-up") return;
    const given = Promise.withResolvers<never>();
    const giveUp = (): void => given.reject(signal.reason);
    signal.addEventListener("abort", giveUp, { once: true });
    if (signal.aborted) giveUp();
    this.#waiting += 1;
    try {
      await Promise.race([this.#ended.promise, given.promise]);
    } finally {
      this.#waiting -= 1;
      signal.removeEventListener("abort", giveUp);
    }
  }

  #pace(): number | null {
    const isSlow = this.#state === "catching-up" && this.#waiting === 0;
    return isSlow ? this.#deps.config().backgroundScanFilesPerSec : null;
  }

  async #scan(): Promise<void> {
    const { engine, manifest, metrics, clock, log, requestRescan } = this.#deps;
    const bootId = await readBootId();
    // Files may differ from their rows because p4d wrote while no daemon ran, or because a
    // power cut damaged them. Only without a reboot in between is it surely the first.
    const reason: LookReason = {
      source: "scan",
      trustsDifference: manifest.meta("boot_id") === bootId,
    };
    const startedMs = clock.monotonicMs();
    metrics.count("p4cache_rescans_total", { reason: "startup" });
    const report = await engine.scan(reason, () => this.#pace());
    this.#state = report.stopped === null ? "scanned" : "stopped";
    this.#ended.resolve();
    if (report.failing > 0) requestRescan();
    if (report.stopped !== null) return log.error(`the scan stopped: ${report.stopped}`);
    metrics.count("p4cache_unmanaged_long_paths_total", {}, report.unmanageable);
    crashPoint("scan/finished");
    await manifest.setMeta("boot_id", bootId);
    await manifest.setMeta("scan_finished_ms", String(clock.nowMs()));
    crashPoint("scan/recorded");
    log.info("scanned the depot", {
      files: report.filesSeen,
      ms: Math.round(clock.monotonicMs() - startedMs),
      ...report.actions,
    });
  }
}
