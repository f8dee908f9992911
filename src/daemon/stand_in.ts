/**
 * The engine without a daemon around it: for commands that take the daemon's place, lock and
 * all, while none runs. Nobody watches the depot and nobody is served.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import type { Config } from "../config/key_table.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import type { EngineContext } from "../engine/engine_context.ts";
import { Departures } from "../engine/departures.ts";
import { ArchivedObjects } from "../engine/archived_objects.ts";
import { DoubtfulKeys } from "../engine/doubtful_keys.ts";
import { ToldUploads } from "../engine/told_uploads.ts";
import { PutBackMarkers } from "../engine/put_back.ts";
import { UnknownMarkers } from "../engine/unknown_markers.ts";
import { developmentLicense } from "../license/policy.ts";
import type { OpenLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import {
  FAILED_OPS,
  newId,
  openFailureLedger,
  openFoundation,
  openScanRecord,
  settleDepot,
} from "./foundation.ts";
import type { ScanRecord } from "./scan_record.ts";
import { engineSettingsOf } from "./settings.ts";
import { openStores } from "./stores.ts";

export interface StandInOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: OpenLogger;
  /** Ends whatever is under way. */
  readonly signal: AbortSignal;
}

/** @throws {StartError} Also while a daemon has the depot. */
export async function openStandIn(
  { config, log, version, signal }: StandInOptions,
  cleanup: AsyncDisposableStack,
): Promise<{ readonly context: EngineContext; readonly record: ScanRecord }> {
  const foundation = await openFoundation(config, log, cleanup);
  const { state, posix, manifest } = foundation;
  const license = developmentLicense();
  const metrics = createMetrics();
  const stores = await openStores({
    config: () => config,
    clock: SYSTEM_CLOCK,
    posix,
    log,
    metrics,
    watermark: license.watermark,
    userAgent: `p4-cache/${version}`,
  });
  cleanup.defer(() => stores.primary.close());
  cleanup.defer(() => stores.secondary?.close());
  for (const store of stores.readStores) cleanup.defer(() => store.close());
  const record = await openScanRecord(foundation);
  await settleDepot(foundation, stores, config, signal);
  const settings = engineSettingsOf(config, posix.statvfs(state.root).totalBytes);
  const ledger = (name: string): EngineContext["failedOps"] =>
    openFailureLedger(foundation, name, config.failedLogRotateMaxMb);
  const context: EngineContext = {
    root: state.root,
    device: state.device,
    posix,
    manifest,
    primary: stores.primary,
    secondary: stores.secondary,
    readStores: stores.readStores,
    settings: () => settings,
    locks: new KeyedLock(),
    evictions: new KeyedLock(),
    putBack: new PutBackMarkers(),
    unknownMarkers: new UnknownMarkers(),
    scans: { isWhole: () => false, areRenamesTold: () => false, request: () => {} },
    archived: new ArchivedObjects(),
    doubtfulKeys: new DoubtfulKeys(),
    // Nobody watches: a scan is all that is known.
    departures: new Departures(),
    eventsUntilNow: () => Promise.resolve(true),
    unwatched: () => record.unwatched,
    applyDeletesBelow: () => Promise.resolve(),
    clock: SYSTEM_CLOCK,
    newId,
    log: log.child({ module: "engine" }),
    metrics,
    failedOps: ledger(FAILED_OPS),
    failedUploads: ledger("p4-cache-failed-uploads.log"),
    toldUploads: new ToldUploads(),
    refuseUpload: () => {
      const answer = license.mayUpload(manifest.counters().totalBytes);
      return answer.allowed ? null : answer.why;
    },
    signal,
  };
  return { context, record };
}
