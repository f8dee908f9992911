/**
 * The composition root: builds every part, wires them, runs until a signal, and stops in
 * the reverse order. The only place that knows all of them.
 *
 * The order of a start: what can refuse comes first and changes nothing; then recovery of
 * what a crash left; then the watcher, proved by a write of our own, so that nothing that
 * `p4d` does is missed; then the sockets. From there on the daemon serves, and the scan
 * goes on behind.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import { armCrashPoint, crashPoint } from "../core/crash_point.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import type { Config } from "../config/key_table.ts";
import { watchConfig } from "../config/watch_config.ts";
import { Engine } from "../engine/engine.ts";
import { Departures } from "../engine/departures.ts";
import type { EngineContext, FailureLedger } from "../engine/engine_context.ts";
import { ArchivedObjects } from "../engine/archived_objects.ts";
import { DoubtfulKeys } from "../engine/doubtful_keys.ts";
import { ToldUploads } from "../engine/told_uploads.ts";
import { PutBackMarkers } from "../engine/put_back.ts";
import { UnknownMarkers } from "../engine/unknown_markers.ts";
import { openGate } from "../gate/gate.ts";
import { developmentLicense, type LicensePolicy } from "../license/policy.ts";
import { ManifestError } from "../manifest/manifest.ts";
import type { OpenLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import { nativeFile } from "../posix/native_files.ts";
import { openWatcher } from "../watch/watcher.ts";
import type { ControlAnswer } from "../wire/control.ts";
import { ControlServer } from "./control.ts";
import { applyToLog, logOptionsOf } from "./daemon_log.ts";
import { DepotWatch } from "./depot_watch.ts";
import { guardErrors } from "./error_guard.ts";
import { FailedDeletes } from "./failed_deletes.ts";
import {
  FAILED_OPS,
  type Foundation,
  newId,
  openFailureLedger,
  openFoundation,
  openScanRecord,
  readLedger,
  settleDepot,
} from "./foundation.ts";
import { GateService } from "./gate_service.ts";
import { keepHouse } from "./housekeeping.ts";
import { logStats, reportMetrics } from "./reporters.ts";
import { engineSettingsOf, shimUidsOf } from "./settings.ts";
import type { ScanRecord } from "./scan_record.ts";
import { EXIT, type ExitStatus, StartError } from "./start_error.ts";
import { messageOf, setStateMode } from "./state_directory.ts";
import { StartupScan } from "./startup_scan.ts";
import { type ScanState, statusOf } from "./status.ts";
import { openStores, type Stores } from "./stores.ts";

export interface DaemonOptions {
  readonly configPath: string;
  readonly config: Config;
  readonly version: string;
  /** Stays open. */
  readonly log: OpenLogger;
}

/** Runs the daemon until SIGTERM or SIGINT. @throws {StartError} */
export async function runDaemon(options: DaemonOptions): Promise<ExitStatus> {
  await using cleanup = new AsyncDisposableStack();
  const { config, log } = options;
  armForTest(log);
  const foundation = await openFoundation(config, log, cleanup);
  return await new Daemon({ options, ...foundation }).run();
}

/** For tests of crashes only; whoever can set this variable can also just kill us. */
function armForTest(log: OpenLogger): void {
  const spec = Deno.env.get("P4CACHE_CRASH_AT");
  if (spec === undefined) return;
  try {
    armCrashPoint(spec, () => Deno.kill(Deno.pid, "SIGKILL"));
  } catch (error) {
    throw new StartError(EXIT.configuration, `P4CACHE_CRASH_AT: ${messageOf(error)}`);
  }
  log.warn("P4CACHE_CRASH_AT is set: this daemon kills itself on purpose", { at: spec });
}

interface Parts extends Foundation {
  readonly options: DaemonOptions;
}

/** Of a daemon that a part of it has ended. */
function exitStatusOf(error: unknown): ExitStatus {
  if (error instanceof StartError) return error.status;
  if (!(error instanceof ManifestError)) return EXIT.bug;
  return error.fault === "stuck" ? EXIT.temporary : EXIT.stateDamaged;
}

/** How long a stop waits for the events of what was done before. */
const LAST_EVENTS_MS_MAX = 3_000;

class Daemon {
  readonly #parts: Parts;
  readonly #metrics = createMetrics();
  readonly #license: LicensePolicy = developmentLicense();
  /** Ends the parts that take work in: the watcher, the gate, the loops. */
  readonly #stop = new AbortController();
  readonly #startedMs = SYSTEM_CLOCK.monotonicMs();
  #config: Config;
  #status: ExitStatus = EXIT.done;
  #isReady = false;
  #watch: DepotWatch | null = null;
  #gate: GateService | null = null;
  #failedDeletes: FailedDeletes | null = null;
  #scan: StartupScan | null = null;
  #credentialEnds: Stores["credentialEnds"] = { primary: null, secondary: null };

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#config = parts.options.config;
  }

  /** A stop that comes before it serves is no failure: the next start does the rest. */
  async run(): Promise<ExitStatus> {
    try {
      return await this.#run();
    } catch (error) {
      const { signal } = this.#stop;
      if (!signal.aborted || error !== signal.reason) throw error;
      this.#parts.log.info("stopped");
      return this.#status;
    }
  }

  async #run(): Promise<ExitStatus> {
    const { log, cleanup, options } = this.#parts;
    cleanup.defer(guardErrors(log, this.#metrics, () => {
      this.#status = EXIT.bug;
      this.#stop.abort(new Error("a bug"));
    }));
    this.#stopOnSignals();
    const stores = await this.#openStores();
    const record = await openScanRecord(this.#parts);
    const context = this.#engineContext(stores, record);
    const engine = new Engine(context);
    this.#failedDeletes = new FailedDeletes(
      // Its own deletes do not wait for it.
      { ...context, eventsUntilNow: () => this.#watchedUntilNow() },
      () => readLedger(this.#parts.state.path),
    );
    await settleDepot(this.#parts, stores, this.#config, this.#stop.signal);
    const watch = this.#config.readOnly ? null : this.#depotWatch(engine, record);
    this.#watch = watch;
    const gate = this.#gateService(engine);
    this.#gate = gate;
    await watch?.open();
    const running: Promise<unknown>[] = [];
    const run = (part: Promise<unknown>): void =>
      void running.push(this.#endOnFailure(part));
    // The watcher reads from here on; its proof needs it.
    if (watch !== null) run(watch.run());
    try {
      await watch?.proveEventsArrive();
      crashPoint("start/watcher-proved");
      await gate.open();
      this.#openToPeers();
      crashPoint("start/gate-open");
    } catch (error) {
      this.#stop.abort();
      await Promise.all(running);
      throw error;
    }
    run(gate.run());
    run(engine.run());
    run(reportMetrics(this.#reporterDeps(engine)));
    run(logStats(this.#reporterDeps(engine)));
    run(keepHouse({
      manifest: this.#parts.manifest,
      manifestDirectory: `${this.#parts.state.path}/manifest`,
      posix: this.#parts.posix,
      native: this.#parts.posix,
      store: this.#config.readOnly ? null : stores.primary,
      withRoom: (sizeBytes, work) => engine.withRoom(sizeBytes, work),
      metrics: this.#metrics,
      log,
      clock: SYSTEM_CLOCK,
      signal: this.#stop.signal,
    }));
    run(this.#watchConfig(gate, engine));
    if (watch !== null) run(watch.watchManifest(this.#parts.manifest));
    await this.#writePidFile();
    log.info(this.#license.banner());
    this.#isReady = true;
    log.info("ready", { version: options.version, depot: this.#config.depotPath });
    if (!this.#config.readOnly) {
      const deletes = this.#failedDeletes;
      this.#scan = this.#startupScan(engine, record, deletes);
      run(this.#scan.run().then(() => deletes.run()));
    }
    await Promise.all(running);
    log.info("stopped");
    return this.#status;
  }

  /** A part that fails takes the others down in order, instead of leaving half a daemon. */
  async #endOnFailure(part: Promise<unknown>): Promise<void> {
    try {
      await part;
    } catch (error) {
      if (this.#stop.signal.aborted && error === this.#stop.signal.reason) return;
      this.#parts.log.error(`stopping, because a part failed: ${messageOf(error)}`, {
        stack: error instanceof Error ? error.stack ?? "" : "",
      });
      this.#status = exitStatusOf(error);
      this.#stop.abort();
    }
  }

  #stopOnSignals(): void {
    const { cleanup, log } = this.#parts;
    let isLeaving = false;
    const stop = (): void => {
      log.info("stopping");
      // Who asks twice does not want to wait.
      if (isLeaving) return this.#stop.abort();
      isLeaving = true;
      void this.#takeInLast().finally(() => this.#stop.abort());
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, stop);
      cleanup.defer(() => Deno.removeSignalListener(signal, stop));
    }
  }

  /**
   * What was done until now is told, and begins to be taken in: the rename of a directory that nobody
   * saw leaves markers whose rows have other names.
   */
  async #takeInLast(): Promise<void> {
    if (!this.#isReady) return;
    const told = this.#watchedUntilNow().catch(() => false);
    const late = SYSTEM_CLOCK.sleep(LAST_EVENTS_MS_MAX, this.#stop.signal).catch(
      () => {},
    );
    await Promise.race([told, late]);
  }

  async #openStores(): Promise<Stores> {
    const { log, posix, options, cleanup } = this.#parts;
    const opening = openStores({
      config: () => this.#config,
      clock: SYSTEM_CLOCK,
      posix,
      log,
      metrics: this.#metrics,
      watermark: this.#license.watermark,
      userAgent: `p4-cache/${options.version}`,
    });
    // What a store does before it is open takes no signal.
    const stores = await unlessAborted(this.#stop.signal, opening);
    this.#credentialEnds = stores.credentialEnds;
    cleanup.defer(() => stores.primary.close());
    cleanup.defer(() => stores.secondary?.close());
    for (const store of stores.readStores) cleanup.defer(() => store.close());
    return stores;
  }

  #engineContext(
    { primary, secondary, readStores }: Stores,
    record: ScanRecord,
  ): EngineContext {
    const { posix, state, manifest, log } = this.#parts;
    const disk = posix.statvfs(state.root).totalBytes;
    return {
      root: state.root,
      device: state.device,
      posix,
      manifest,
      primary,
      secondary,
      readStores,
      settings: () => engineSettingsOf(this.#config, disk),
      locks: new KeyedLock(),
      evictions: new KeyedLock(),
      putBack: new PutBackMarkers(),
      unknownMarkers: new UnknownMarkers(),
      scans: {
        isWhole: () => record.isWhole && this.#watch?.isScanDue === false,
        areRenamesTold: () => this.#watch?.areRenamesTold === true,
        request: () => this.#watch?.requestRescan("requested"),
      },
      archived: new ArchivedObjects(),
      doubtfulKeys: new DoubtfulKeys(),
      departures: new Departures(),
      eventsUntilNow: async () =>
        await this.#watchedUntilNow() &&
        (this.#config.readOnly || (await this.#failedDeletes?.takeOverNew() ?? true)),
      unwatched: () => record.unwatched,
      applyDeletesBelow: async (directory) =>
        await this.#failedDeletes?.applyBelow(directory),
      clock: SYSTEM_CLOCK,
      newId,
      log: log.child({ module: "engine" }),
      metrics: this.#metrics,
      failedOps: this.#ledger(FAILED_OPS),
      failedUploads: this.#ledger("p4-cache-failed-uploads.log"),
      toldUploads: new ToldUploads(),
      refuseUpload: () => {
        const answer = this.#license.mayUpload(manifest.counters().totalBytes);
        return answer.allowed ? null : answer.why;
      },
      signal: this.#stop.signal,
    };
  }

  /** Where nobody watches, because nothing is changed, there is nothing to wait for. */
  async #watchedUntilNow(): Promise<boolean> {
    return await this.#watch?.eventsUntilNow() ?? true;
  }

  /** Users beside our own must pass through .p4cache to its sockets. */
  #openToPeers(): void {
    const { posix, state, log } = this.#parts;
    const own = [0, Deno.uid() ?? 0];
    const hasOthers = shimUidsOf(this.#config).some((uid) => !own.includes(uid));
    setStateMode({ posix, log }, state.root, hasOthers ? 0o711 : 0o700);
  }

  #ledger(name: string): FailureLedger {
    return openFailureLedger(this.#parts, name, this.#config.failedLogRotateMaxMb);
  }

  #depotWatch(engine: Engine, record: ScanRecord): DepotWatch {
    const { state, log } = this.#parts;
    return new DepotWatch({
      root: state.root,
      statePath: state.path,
      engine,
      record,
      open: () =>
        openWatcher({
          helperPath: nativeFile("p4-cache-fanotify"),
          roots: [state.root],
          onStderrLine: (line: string) => log.warn(line, { module: "fanotify" }),
          signal: this.#stop.signal,
        }),
      clock: SYSTEM_CLOCK,
      log: log.child({ module: "watch" }),
      metrics: this.#metrics,
      newId,
      rescanCooldownSecs: () => this.#config.rescanCooldownSecs,
      signal: this.#stop.signal,
    });
  }

  #gateService(engine: Engine): GateService {
    const { state, log, posix } = this.#parts;
    const disk = posix.statvfs(state.root).totalBytes;
    return new GateService({
      engine,
      control: this.#controlServer(engine),
      settings: () => engineSettingsOf(this.#config, disk),
      open: () =>
        openGate({
          helperPath: nativeFile("p4-cache-gate"),
          shimSock: `${state.root}/.p4cache/shim.sock`,
          accessSock: `${state.root}/.p4cache/access.sock`,
          socketMode: parseInt(this.#config.shimSocketMode, 8),
          allowUids: shimUidsOf(this.#config),
          requestsMax: this.#config.shimMaxRequests,
          onStderrLine: (line: string) => log.warn(line, { module: "gate" }),
          signal: this.#stop.signal,
        }),
      clock: SYSTEM_CLOCK,
      log: log.child({ module: "gate" }),
      metrics: this.#metrics,
      signal: this.#stop.signal,
    });
  }

  #startupScan(
    engine: Engine,
    record: ScanRecord,
    deletes: FailedDeletes,
  ): StartupScan {
    const { log } = this.#parts;
    return new StartupScan({
      engine,
      deletes,
      record,
      config: () => this.#config,
      requestRescan: () => this.#watch?.requestRescan("lost"),
      clock: SYSTEM_CLOCK,
      log,
      metrics: this.#metrics,
      signal: this.#stop.signal,
    });
  }

  #controlServer(engine: Engine): ControlServer {
    const { manifest, log } = this.#parts;
    return new ControlServer({
      engine,
      manifest,
      isReadOnly: () => this.#config.readOnly,
      hasSecondary: this.#config.secondary !== null,
      status: () => this.#statusAnswer(engine),
      isCaughtUp: async () => await this.#watch?.isCaughtUp() ?? true,
      catchUp: (signal) => this.#seeAllWrites(signal),
      clock: SYSTEM_CLOCK,
      log: log.child({ module: "control" }),
      signal: this.#stop.signal,
    });
  }

  async #seeAllWrites(signal: AbortSignal): Promise<boolean> {
    await this.#scan?.ended(signal);
    return await this.#watch?.catchUp(signal) ?? true;
  }

  async #statusAnswer(engine: Engine): Promise<ControlAnswer> {
    const watcher = await this.#watch?.look() ?? null;
    const { options, manifest, posix, state } = this.#parts;
    const { totalBytes, freeBytes } = posix.statvfs(state.root);
    return statusOf({
      version: options.version,
      config: this.#config,
      settings: engineSettingsOf(this.#config, totalBytes),
      manifest,
      engine,
      credentialEnds: this.#credentialEnds,
      clock: SYSTEM_CLOCK,
      startedMs: this.#startedMs,
      freeBytes,
      scan: this.#scanState(),
      watcher,
      scanDue: this.#watch?.isScanDue ?? false,
      watcherRestarts: this.#watch?.restarts ?? 0,
      gateRestarts: this.#gate?.restarts ?? 0,
      metrics: this.#metrics,
    });
  }

  #scanState(): ScanState {
    switch (this.#watch?.lastScan) {
      case "failed":
        return "incomplete";
      case "stopped":
        return "stopped";
      default:
        return this.#scan?.state ?? "unscanned";
    }
  }

  #reporterDeps(engine: Engine): Parameters<typeof reportMetrics>[0] {
    return {
      config: () => this.#config,
      manifest: this.#parts.manifest,
      engine,
      credentialEnds: this.#credentialEnds,
      license: this.#license,
      metrics: this.#metrics,
      log: this.#parts.log,
      clock: SYSTEM_CLOCK,
      signal: this.#stop.signal,
    };
  }

  async #watchConfig(gate: GateService, engine: Engine): Promise<void> {
    const { log, options } = this.#parts;
    const watch = watchConfig({
      path: options.configPath,
      running: this.#config,
      clock: SYSTEM_CLOCK,
      signal: this.#stop.signal,
      onReload: ({ config, applied }) => {
        this.#config = config;
        const inEffect = applyToLog(log, config, applied);
        gate.allow(shimUidsOf(config));
        this.#openToPeers();
        engine.wake();
        if (inEffect.length === 0) return;
        log.info("configuration applied", { keys: inEffect.join(" ") });
      },
      onWarning: (message) => log.warn(message),
    });
    const check = (): void => {
      // Whoever has moved the log away says so by this, with nothing else changed.
      log.reconfigure(logOptionsOf(this.#config));
      watch.check();
    };
    Deno.addSignalListener("SIGHUP", check);
    try {
      await watch.done;
    } finally {
      Deno.removeSignalListener("SIGHUP", check);
    }
  }

  async #writePidFile(): Promise<void> {
    const { pidFile } = this.#config;
    if (pidFile === null) return;
    try {
      await Deno.writeTextFile(pidFile, `${Deno.pid}\n`);
    } catch (error) {
      // The depot is served by now, and nothing of ours reads it.
      const why = messageOf(error);
      this.#parts.log.warn("cannot write pid_file; going on without it", {
        pidFile,
        why,
      });
      return;
    }
    this.#parts.cleanup.defer(() => Deno.remove(pidFile).catch(() => {}));
  }
}
