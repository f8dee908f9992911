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
import type { Config } from "../config/key_table.ts";
import { watchConfig } from "../config/watch_config.ts";
import { Engine } from "../engine/engine.ts";
import type { EngineContext, FailureLedger } from "../engine/engine_context.ts";
import type { LookReason } from "../engine/observe_plan.ts";
import { recoverDirectories } from "../engine/recovery.ts";
import { openGate } from "../gate/gate.ts";
import { developmentLicense, type LicensePolicy } from "../license/policy.ts";
import { openManifest } from "../manifest/lmdb_manifest.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { type Ledger, openLedger } from "../obs/jsonl_ledger.ts";
import { type OpenLogger, openLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import { nativeFile } from "../posix/native_files.ts";
import { openPosix, type Posix } from "../posix/posix.ts";
import { openWatcher } from "../watch/watcher.ts";
import { DepotWatch } from "./depot_watch.ts";
import { guardErrors } from "./error_guard.ts";
import { GateService } from "./gate_service.ts";
import { settleInstance } from "./instance.ts";
import { logStats, reportMetrics } from "./reporters.ts";
import { engineSettingsOf, shimUidsOf } from "./settings.ts";
import { EXIT, type ExitStatus, StartError } from "./start_error.ts";
import { messageOf, openStateDirectory, type StateDirectory } from "./state_directory.ts";
import { openStores, type Stores } from "./stores.ts";

export interface DaemonOptions {
  readonly configPath: string;
  readonly config: Config;
  readonly version: string;
}

/** Runs the daemon until SIGTERM or SIGINT. @throws {StartError} */
export async function runDaemon(options: DaemonOptions): Promise<ExitStatus> {
  await using cleanup = new AsyncDisposableStack();
  const { config } = options;
  const log = openLogger({ ...logOptionsOf(config), clock: SYSTEM_CLOCK });
  cleanup.defer(() => log.close());
  armForTest(log);
  const posix = openPosix(nativeFile("libp4posix.so"));
  cleanup.use(posix);
  posix.prctlNotDumpable();
  const state = await openStateDirectory(posix, config.depotPath, config.manage);
  cleanup.defer(() => state.close());
  const manifest = await openManifestOrExplain(`${state.path}/manifest`);
  cleanup.defer(() => manifest.close());
  return await new Daemon({ options, log, posix, state, manifest, cleanup }).run();
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

interface Parts {
  readonly options: DaemonOptions;
  readonly log: OpenLogger;
  readonly posix: Posix;
  readonly state: StateDirectory;
  readonly manifest: Manifest;
  readonly cleanup: AsyncDisposableStack;
}

class Daemon {
  readonly #parts: Parts;
  readonly #metrics = createMetrics();
  readonly #license: LicensePolicy = developmentLicense();
  /** Ends the parts that take work in: the watcher, the gate, the loops. */
  readonly #stop = new AbortController();
  #config: Config;
  #status: ExitStatus = EXIT.done;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#config = parts.options.config;
  }

  async run(): Promise<ExitStatus> {
    const { log, cleanup, options } = this.#parts;
    cleanup.defer(guardErrors(log, this.#metrics, () => {
      this.#status = EXIT.bug;
      this.#stop.abort(new Error("a bug"));
    }));
    this.#stopOnSignals();
    const stores = await this.#openStores();
    const engine = new Engine(this.#engineContext(stores));
    await this.#settle(stores);
    const watch = this.#config.readOnly ? null : this.#depotWatch(engine);
    const gate = this.#gateService(engine);
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
    run(this.#watchConfig(gate, engine));
    await this.#writePidFile();
    log.info(this.#license.banner());
    log.info("ready", { version: options.version, depot: this.#config.depotPath });
    if (!this.#config.readOnly && !this.#config.skipStartupScan) {
      run(this.#startupScan(engine));
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
      this.#status = error instanceof ManifestError ? EXIT.stateDamaged : EXIT.bug;
      this.#stop.abort();
    }
  }

  #stopOnSignals(): void {
    const { cleanup, log } = this.#parts;
    const stop = (): void => {
      log.info("stopping");
      this.#stop.abort();
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, stop);
      cleanup.defer(() => Deno.removeSignalListener(signal, stop));
    }
  }

  async #openStores(): Promise<Stores> {
    const { log, options, cleanup } = this.#parts;
    const stores = await openStores({
      config: () => this.#config,
      clock: SYSTEM_CLOCK,
      log,
      metrics: this.#metrics,
      watermark: this.#license.watermark,
      userAgent: `p4-cache/${options.version}`,
    });
    cleanup.defer(() => stores.primary.close());
    cleanup.defer(() => stores.secondary?.close());
    return stores;
  }

  /** Instance, device and what a crash left; nothing of the depot is touched before. */
  async #settle({ primary }: Stores): Promise<void> {
    const { manifest, posix, state, log } = this.#parts;
    await settleInstance(manifest, primary, this.#config.readOnly, newId);
    const device = String(state.device);
    const known = manifest.meta("depot_device");
    if (known !== null && known !== device) {
      throw new StartError(
        EXIT.configuration,
        `The depot is on another device (${device}) than before (${known}): if its disk is ` +
          `not mounted, mount it; if the depot was moved on purpose, run p4-cache ` +
          `rebuild-manifest`,
      );
    }
    if (known === null && !this.#config.readOnly) {
      await manifest.setMeta("depot_device", device);
      crashPoint("start/device-kept");
    }
    // With nothing to compare yet, each later difference is a write, also one that comes
    // before the first scan ends and after a crash of this daemon.
    const isNew = manifest.entries("", null, 1).length === 0;
    if (isNew && !this.#config.readOnly) {
      await manifest.setMeta("boot_id", await currentBootId());
    }
    const { removed, kept } = await recoverDirectories(posix, state.root, log);
    crashPoint("recovery/finished");
    if (removed + kept > 0) log.info("recovered after a crash", { removed, kept });
  }

  #engineContext({ primary, secondary }: Stores): EngineContext {
    const { posix, state, manifest, log } = this.#parts;
    const disk = posix.statvfs(state.root).totalBytes;
    return {
      root: state.root,
      device: state.device,
      posix,
      manifest,
      primary,
      secondary,
      settings: () => engineSettingsOf(this.#config, disk),
      locks: new KeyedLock(),
      clock: SYSTEM_CLOCK,
      newId,
      log: log.child({ module: "engine" }),
      metrics: this.#metrics,
      failedOps: this.#ledger("p4-cache-failed-ops.log"),
      failedUploads: this.#ledger("p4-cache-failed-uploads.log"),
      refuseUpload: () => {
        const answer = this.#license.mayUpload(manifest.counters().totalBytes);
        return answer.allowed ? null : answer.why;
      },
      signal: this.#stop.signal,
    };
  }

  #ledger(name: string): FailureLedger {
    const { state, cleanup, log } = this.#parts;
    const ledger: Ledger = openLedger({
      path: `${state.path}/${name}`,
      rotateMaxMb: this.#config.failedLogRotateMaxMb,
      keep: 10,
      clock: SYSTEM_CLOCK,
    });
    cleanup.defer(() => ledger.close());
    return {
      append(record): void {
        try {
          ledger.append(record);
        } catch (error) {
          // The disk is full, most likely: the failure itself must still be seen.
          log.error(`cannot write ${name}: ${messageOf(error)}`, {
            record: JSON.stringify(record),
          });
        }
      },
    };
  }

  #depotWatch(engine: Engine): DepotWatch {
    const { state, log } = this.#parts;
    return new DepotWatch({
      root: state.root,
      statePath: state.path,
      engine,
      open: () =>
        openWatcher({
          helperPath: nativeFile("p4-cache-fanotify"),
          roots: [state.root],
          onStderrLine: (line: string) => log.warn(line, { module: "fanotify" }),
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
        }),
      clock: SYSTEM_CLOCK,
      log: log.child({ module: "gate" }),
      metrics: this.#metrics,
      signal: this.#stop.signal,
    });
  }

  #reporterDeps(engine: Engine): Parameters<typeof reportMetrics>[0] {
    return {
      config: () => this.#config,
      manifest: this.#parts.manifest,
      engine,
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
        log.reconfigure(logOptionsOf(config));
        gate.allow(shimUidsOf(config));
        engine.wake();
        log.info("configuration applied", { keys: applied.join(" ") });
      },
      onWarning: (message) => log.warn(message),
    });
    const check = (): void => watch.check();
    Deno.addSignalListener("SIGHUP", check);
    try {
      await watch.done;
    } finally {
      Deno.removeSignalListener("SIGHUP", check);
    }
  }

  async #startupScan(engine: Engine): Promise<void> {
    const { manifest, log } = this.#parts;
    const bootId = await currentBootId();
    // Files may differ from their rows because p4d wrote while no daemon ran, or because a
    // power cut damaged them. Only without a reboot in between is it surely the first.
    const reason: LookReason = {
      source: "scan",
      trustsDifference: manifest.meta("boot_id") === bootId,
    };
    const startedMs = SYSTEM_CLOCK.monotonicMs();
    const report = await engine.scan(reason);
    if (report.stopped !== null) return log.error(`the scan stopped: ${report.stopped}`);
    this.#metrics.count("p4cache_unmanaged_long_paths_total", {}, report.unmanageable);
    crashPoint("scan/finished");
    await manifest.setMeta("boot_id", bootId);
    await manifest.setMeta("scan_finished_ms", String(SYSTEM_CLOCK.nowMs()));
    crashPoint("scan/recorded");
    log.info("scanned the depot", {
      files: report.filesSeen,
      ms: Math.round(SYSTEM_CLOCK.monotonicMs() - startedMs),
      ...report.actions,
    });
  }

  async #writePidFile(): Promise<void> {
    const { pidFile } = this.#config;
    if (pidFile === null) return;
    await Deno.writeTextFile(pidFile, `${Deno.pid}\n`);
    this.#parts.cleanup.defer(() => Deno.remove(pidFile).catch(() => {}));
  }
}

async function currentBootId(): Promise<string> {
  return (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();
}

function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

function logOptionsOf(config: Config): Omit<Parameters<typeof openLogger>[0], "clock"> {
  return {
    format: config.logFormat,
    level: config.logLevel,
    file: config.logFile,
    rotateMaxMb: config.logRotateMaxMb,
    retentionDays: config.logRetentionDays,
  };
}

async function openManifestOrExplain(directory: string): Promise<Manifest> {
  try {
    return await openManifest({ directory });
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const advice = error.fault === "damaged"
      ? "; nothing was changed. See p4-cache check-manifest for what is wrong, and run " +
        "p4-cache rebuild-manifest"
      : error.fault === "newer"
      ? "; install the newer p4-cache again"
      : "";
    throw new StartError(EXIT.stateDamaged, `${error.message}${advice}`, {
      cause: error,
    });
  }
}
