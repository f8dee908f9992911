/**
 * What the daemon and the commands that take its place (prestage) stand on: the log, the
 * depot's state directory with its lock, the manifest, the stores, and the checks that
 * refuse to begin.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import { crashPoint } from "../core/crash_point.ts";
import { OwnFileError } from "../core/own_file.ts";
import type { Config } from "../config/key_table.ts";
import type { FailureLedger } from "../engine/engine_context.ts";
import { finishMove } from "../engine/finish_move.ts";
import { recoverDirectories } from "../engine/recovery.ts";
import { openManifest, rebuiltDirectoryOf } from "../manifest/lmdb_manifest.ts";
import type { NativeReads } from "../manifest/page_file.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import {
  type Ledger,
  LedgerError,
  type LedgerOptions,
  openLedger,
} from "../obs/jsonl_ledger.ts";
import type { Logger, OpenLogger } from "../obs/logger.ts";
import { MIB } from "../core/units.ts";
import { nativeFile } from "../posix/native_files.ts";
import { openPosix, type Posix, PosixError } from "../posix/posix.ts";
import {
  identityOf,
  judgePlace,
  keepPlace,
  knownPlaceOf,
  warnOfNumber,
} from "./depot_place.ts";
import { ScanRecord } from "./scan_record.ts";
import { refuseUnwatchedOwner, warningOfOwner } from "./own_directories.ts";
import { settleInstance, type StoresOfInstance } from "./instance.ts";
import { EXIT, StartError } from "./start_error.ts";
import { messageOf, openStateDirectory, type StateDirectory } from "./state_directory.ts";

/** Files of a ledger that are kept. */
const LEDGERS_KEPT = 10;

export interface Foundation {
  readonly log: OpenLogger;
  readonly posix: Posix & NativeReads;
  readonly state: StateDirectory;
  readonly manifest: Manifest;
  /** Closes all of it, and whatever is added. */
  readonly cleanup: AsyncDisposableStack;
}

/** Takes the instance lock, among others. @throws {StartError} */
export async function openFoundation(
  config: Config,
  log: OpenLogger,
  cleanup: AsyncDisposableStack,
): Promise<Foundation> {
  const posix = openPosix(nativeFile("libp4posix.so"));
  cleanup.use(posix);
  posix.prctlNotDumpable();
  posix.boundMemory();
  if (!config.readOnly) {
    refuseUnwatchedOwner(config.depotPath, config.watcherAllowedUids);
  }
  const state = await openStateDirectory(posix, config.depotPath, config.manage);
  cleanup.defer(() => state.close());
  const warning = warningOfOwner(config.depotPath);
  if (warning !== null) log.warn(warning);
  const manifest = await openManifestOrExplain(`${state.path}/manifest`, posix, log);
  cleanup.defer(() => manifest.close());
  return { log, posix, state, manifest, cleanup };
}

/** Some 10,000 transactions of single files. */
const RESERVE_BYTES = 32 * MIB;

async function openManifestOrExplain(
  directory: string,
  native: NativeReads,
  log: Logger,
): Promise<Manifest> {
  const onChange = (state: "used" | "kept" | "missing"): void => {
    if (state === "used") {
      log.error(
        "the disk is full: the manifest goes on in the room that was kept for it; make " +
          "room now, or uploads, restores and deletes stop",
      );
    } else if (state === "missing") {
      log.warn("no room can be kept for the manifest: the disk is full");
    } else log.debug("room is kept for the manifest", { bytes: RESERVE_BYTES });
  };
  const onFault = (error: unknown): void =>
    log.error(`cannot look after the room for the manifest: ${messageOf(error)}`);
  const rebuilt = rebuiltDirectoryOf(directory);
  try {
    const manifest = await openManifest({
      directory,
      native,
      reserve: { sizeBytes: RESERVE_BYTES, onChange, onFault },
      onMigrated: (rows) => log.info("the manifest is brought to a new schema", { rows }),
    });
    if (await Deno.lstat(rebuilt).then(() => true, () => false)) {
      log.warn(
        "a rebuild of the manifest was stopped and is not finished; this is the manifest of " +
          "before: stop and run p4-cache rebuild-manifest if it was damaged, or remove what " +
          "was begun",
        { begun: rebuilt },
      );
    }
    return manifest;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    // With room on the disk a start goes on, which is worth trying again.
    const status = error.fault === "full" ? EXIT.incomplete : EXIT.stateDamaged;
    throw new StartError(status, `${error.message}${adviceOn(error)}`, { cause: error });
  }
}

function adviceOn({ fault }: ManifestError): string {
  switch (fault) {
    case "damaged":
      return "; nothing was changed. See p4-cache check-manifest for what is wrong, and run " +
        "p4-cache rebuild-manifest";
    case "newer":
      return "; nothing was changed. If that p4-cache cannot be had, p4-cache " +
        "rebuild-manifest --no-copy makes a manifest of this one's from the store and the depot";
    case "full":
      return ". Make room on the depot's disk, and the next start goes on with what this one " +
        "began: of the copies in manifest-copies beside it the oldest may go";
    case "older":
    case "unavailable":
    case "stuck":
      return "";
  }
}

/**
 * Instance, device and what a crash left; nothing of the depot is touched before.
 *
 * @throws The signal's reason, if it aborts while a store is waited for, or the rename of a directory
 * is finished.
 */
export async function settleDepot(
  { manifest, posix, state, log }: Foundation,
  stores: StoresOfInstance,
  config: Config,
  signal: AbortSignal,
): Promise<void> {
  const isReadOnly = config.readOnly;
  const clock = SYSTEM_CLOCK;
  await settleInstance({ manifest, stores, isReadOnly, newId, log, clock, signal });
  await settlePlace({ manifest, state, log }, config.readOnly);
  // With nothing to compare yet, each later difference is a write, also one that comes
  // before the first scan ends and after a crash of this daemon.
  const isNew = manifest.entries("", null, 1).length === 0;
  if (isNew && !config.readOnly) await manifest.setMeta("boot_id", await readBootId());
  await finishMove({ manifest, log }, signal);
  await recoverOrExplain(posix, state, log);
  crashPoint("recovery/finished");
}

async function settlePlace(
  { manifest, state, log }: Pick<Foundation, "manifest" | "state" | "log">,
  isReadOnly: boolean,
): Promise<void> {
  const now = { device: String(state.device), identity: identityOf(state.path) };
  const known = knownPlaceOf(manifest);
  const verdict = judgePlace(known, now);
  if (verdict === "another") {
    throw new StartError(
      EXIT.configuration,
      `The depot is on another device (${now.device}) than before (${
        known!.device
      }): if ` +
        `its disk is not mounted, mount it; if the depot was moved on purpose, run ` +
        `p4-cache rebuild-manifest --new-disk`,
    );
  }
  if (verdict === "renumbered") warnOfNumber(log, known, now);
  if (verdict === "go" || isReadOnly) return;
  await keepPlace(manifest, now);
  crashPoint("start/device-kept");
}

/** Before {@linkcode settleDepot}, which records the boot of a manifest that is new. */
export async function openScanRecord({ manifest }: Foundation): Promise<ScanRecord> {
  return new ScanRecord({ manifest, clock: SYSTEM_CLOCK, bootId: await readBootId() });
}

async function recoverOrExplain(
  posix: Posix,
  state: StateDirectory,
  log: Logger,
): Promise<void> {
  try {
    const { removed, returned, kept } = await recoverDirectories(posix, state.root, log);
    if (removed + returned + kept > 0) {
      log.info("recovered after a crash", { removed, returned, kept });
    }
  } catch (error) {
    if (!(error instanceof PosixError)) throw error;
    throw new StartError(
      EXIT.stateDamaged,
      `Cannot finish or undo what a crash left in ${state.path}: ${error.message}; ` +
        `nothing is lost: see to the depot's disk and start again`,
      { cause: error },
    );
  }
}

/** A ledger in the state directory, which never fails whoever writes to it. */
export function openFailureLedger(
  { state, cleanup, log }: Pick<Foundation, "state" | "cleanup"> & { log: Logger },
  name: string,
  rotateMaxMb: number,
): FailureLedger {
  const ledger = openLedgerOrExplain({
    path: `${state.path}/${name}`,
    rotateMaxMb,
    keep: LEDGERS_KEPT,
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

function openLedgerOrExplain(options: LedgerOptions): Ledger {
  try {
    return openLedger(options);
  } catch (error) {
    const cause = error instanceof LedgerError ? error.cause : null;
    if (!(cause instanceof OwnFileError)) throw error;
    throw new StartError(EXIT.configuration, cause.message, { cause: error });
  }
}

export const FAILED_OPS = "p4-cache-failed-ops.log";

/** The texts of the ledger's two newest files, the older one first. */
export function readLedger(statePath: string): string[] {
  return [`${FAILED_OPS}.1`, FAILED_OPS].flatMap((name) => {
    try {
      return [Deno.readTextFileSync(`${statePath}/${name}`)];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}

/** Of the machine since its last start: files of before may have lost their last writes. */
export async function readBootId(): Promise<string> {
  return (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();
}

export function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
