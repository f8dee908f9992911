/**
 * Brings evicted files back.
 *
 * Where the copies are: the store has the bytes before, during and after. What comes from
 * it is written beside the depot, checked against the row's size and hash, flushed, and
 * exchanged with the marker; what `p4d` wrote in the meantime always wins.
 *
 * @module
 */

import { InvariantError } from "../core/assert.ts";
import { type Client, FairPlaces } from "../core/fair_places.ts";
import type { DepotPath } from "../core/names.ts";
import type { FileEntry, LocalStat } from "../manifest/manifest.ts";
import { StorageError } from "../storage/storage_error.ts";
import { adoptFromStore } from "./adopt.ts";
import { followOwner } from "./borrowed.ts";
import { bringBack } from "./bring_back.ts";
import { catchUp, unlessBehind } from "./caught_up.ts";
import { VANISH_GRACE_MS } from "./departures.ts";
import { type EngineContext, hasSameContent, shown } from "./engine_context.ts";
import type { OnProgress } from "./fetch_content.ts";
import { lookAt } from "./local_file.ts";
import type { Look } from "./observe_plan.ts";
import { MET, observe } from "./observe.ts";
import type { RecallBudget } from "./recall_budget.ts";
import { asRestoreError, RestoreError } from "./restore_error.ts";
import type { SpaceLedger } from "./space.ts";
import { stampAgain } from "./stat.ts";
import { isMarkerOfRow } from "./unknown_markers.ts";

export interface Restored {
  readonly sizeBytes: number;
  /** False if the file was there already. */
  readonly wasEvicted: boolean;
}

export interface RestoreOptions {
  readonly onProgress?: OnProgress;
  /**
   * A plain open() succeeds from now on, and after a power cut too; the row is still to be
   * written. Called at most once, and not by each restore.
   */
  readonly onReadable?: (sizeBytes: number) => void;
  /** Who asked first; the daemon itself where nobody did. */
  readonly client?: Client;
}

/** What all restores share. */
interface Shares {
  readonly context: EngineContext;
  readonly space: SpaceLedger;
  readonly recall: RecallBudget;
  readonly places: FairPlaces;
}

const OWN: Client = { uid: Deno.uid() ?? 0, pid: 0 };

interface Flight {
  readonly result: Promise<Restored>;
  readonly listeners: Set<Listener>;
  isReadable: boolean;
}

type Listener = Pick<RestoreOptions, "onProgress" | "onReadable">;

export class Restorer {
  readonly #shares: Shares;
  readonly #flights = new Map<DepotPath, Flight>();
  readonly #onRestored: () => void;

  constructor(
    shares: Omit<Shares, "places">,
    onRestored: () => void,
  ) {
    const { clock, settings } = shares.context;
    const places = new FairPlaces(settings().restoreThreads, clock);
    this.#shares = { ...shares, places };
    this.#onRestored = onRestored;
  }

  /** Restores that somebody waits for: for a place, for room, or for the store. */
  get waitingCount(): number {
    return this.#flights.size;
  }

  /**
   * Resolves when a plain open() of `path` would succeed. However many ask at once, one
   * download serves them all, and all get its error.
   *
   * @throws {RestoreError}
   */
  async restore(
    path: DepotPath,
    { onProgress, onReadable, client = OWN }: RestoreOptions = {},
  ): Promise<Restored> {
    let flight = this.#flights.get(path);
    // Who was told of the file may have renamed or removed it: a newcomer looks again.
    while (flight?.isReadable) {
      await flight.result.catch(() => {});
      flight = this.#flights.get(path);
    }
    flight ??= this.#takeOff(path, client);
    const listener: Listener = {
      ...onProgress !== undefined && { onProgress },
      ...onReadable !== undefined && { onReadable },
    };
    flight.listeners.add(listener);
    try {
      return await flight.result;
    } finally {
      flight.listeners.delete(listener);
    }
  }

  #takeOff(path: DepotPath, client: Client): Flight {
    const listeners = new Set<Listener>();
    const onProgress: OnProgress = (done, total) => {
      for (const listener of listeners) listener.onProgress?.(done, total);
    };
    const onReadable = (sizeBytes: number): void => {
      flight.isReadable = true;
      for (const listener of listeners) listener.onReadable?.(sizeBytes);
    };
    const result = this.#measured({ path, client, onProgress, onReadable })
      .finally(() => this.#flights.delete(path));
    const flight: Flight = { result, listeners, isReadable: false };
    this.#flights.set(path, flight);
    return flight;
  }

  async #measured(asked: Asked): Promise<Restored> {
    const { path } = asked;
    const { metrics, clock, locks, signal } = this.#shares.context;
    const startedMs = clock.monotonicMs();
    try {
      const restored = await locks.run(path, () => restoreLocked(this.#shares, asked));
      if (restored.wasEvicted) {
        const seconds = (clock.monotonicMs() - startedMs) / 1000;
        metrics.count("p4cache_restores_total", { result: "success" });
        metrics.observe("p4cache_restore_seconds", seconds, { result: "success" });
        metrics.count("p4cache_restore_bytes_total", {}, restored.sizeBytes);
        this.#onRestored();
      }
      return restored;
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      const failure = asRestoreError(error);
      // One that the daemon's end cut short is asked for again.
      if (failure.fault !== "NOTFOUND" && !signal.aborted) {
        metrics.count("p4cache_restores_total", { result: "failure" });
        // The recall limit tells of its refusals by itself, and not of each.
        if (failure.fault !== "QUOTA") this.#tellFailure(path, failure);
      }
      throw failure;
    }
  }

  #tellFailure(path: DepotPath, { fault, cause, message }: RestoreError): void {
    const { failedOps, log } = this.#shares.context;
    failedOps.append({
      op: "restore",
      ...shown(path),
      fault,
      // What the store itself said: archived objects are asked for by this.
      storeFault: cause instanceof StorageError ? cause.fault : null,
      error: message,
    });
    log.error(`restore failed: ${message}`, shown(path));
  }
}

interface Asked {
  readonly path: DepotPath;
  readonly client: Client;
  readonly onProgress: OnProgress;
  readonly onReadable: (sizeBytes: number) => void;
}

/** The name of a file that is restored may get its marker back, or another, meanwhile. */
const ATTEMPTS_MAX = 5;

async function restoreLocked(shares: Shares, asked: Asked): Promise<Restored> {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const restored = await restoreAsItIs(shares, asked);
    if (restored !== null) return restored;
  }
  throw new RestoreError(
    "UNAVAILABLE",
    `its name changed hands during each of ${ATTEMPTS_MAX} restores`,
  );
}

/** Null if something else was at the name in the end than at the beginning. */
async function restoreAsItIs(
  { context, space, recall, places }: Shares,
  { path, client, onProgress, onReadable }: Asked,
): Promise<Restored | null> {
  const look = lookAt(context, path);
  if (look.kind === "file") {
    const entry = context.manifest.get(path);
    if (entry !== null && !entry.resident) {
      await unlessBehind(observe(context, path, MET));
    }
    return { sizeBytes: look.stat.sizeBytes, wasEvicted: false };
  }
  if (look.kind === "elsewhere" && context.manifest.get(path) !== null) {
    throw new RestoreError(
      "UNAVAILABLE",
      "its directory is on another file system than the depot's root now: is something " +
        "mounted over it?",
    );
  }
  if (look.kind === "other" || look.kind === "elsewhere") {
    // A marker that somebody touched.
    if (look.kind === "other" && stampAgain(context, path) !== null) return null;
    throw new RestoreError(
      "NOTFOUND",
      "a directory, link or foreign socket has this name",
    );
  }
  if (look.kind === "absent" && context.manifest.get(path) !== null) {
    // The marker is lost, and is put back; or the file was renamed or deleted a moment ago. Then
    // its DELETE is on its way, and would find a file that somebody else has made.
    const { departures, clock, signal } = context;
    await catchUp(context, path);
    await departures.settled(path, { clock, signal, graceMs: VANISH_GRACE_MS });
    await observe(context, path, MET);
    if (lookAt(context, path).kind !== "absent") return null;
  }
  if (look.kind === "marker" && !isUntouched(context, path, look.stat)) {
    // This or another evicted file may have been renamed to this name a moment ago.
    await catchUp(context, path);
    const now = lookAt(context, path);
    if (now.kind !== "marker" || !hasSameContent(now.stat, look.stat)) return null;
    refuseOtherMarker(context, path, now);
  }
  const entry = await storedEntry(context, path, look);
  const { stored } = entry;
  if (stored === null) {
    throw new RestoreError(
      "CORRUPT",
      "the local file is gone and it was never uploaded; see p4-cache-failed-ops.log",
    );
  }
  const { sizeBytes } = stored;
  const bring = (): Promise<boolean> =>
    space.reserve(
      sizeBytes,
      (onWritten) =>
        bringBack(context, { path, entry, stored, look }, {
          onProgress,
          onWritten,
          onReadable: () => onReadable(sizeBytes),
        }),
    );
  const isBack = await places.run(client, () => recall.run(client.uid, sizeBytes, bring));
  return isBack ? { sizeBytes, wasEvicted: true } : null;
}

/**
 * Whether the row knows the marker by its inode; one that was put back it does not. The number
 * of an inode alone may be another marker's by now.
 */
function isKnownMarker(
  context: EngineContext,
  path: DepotPath,
  stat: LocalStat,
): boolean {
  const entry = context.manifest.get(path);
  return entry !== null && !entry.resident && entry.local.ino === stat.ino &&
    entry.local.sizeBytes === stat.sizeBytes;
}

/** Nor has anybody set its times since. */
function isUntouched(context: EngineContext, path: DepotPath, stat: LocalStat): boolean {
  return isKnownMarker(context, path, stat) &&
    context.manifest.get(path)?.local.mtimeNs === stat.mtimeNs;
}

/** Renamed while nobody watched: the row at its new name is of the file that it replaced. */
function refuseOtherMarker(
  context: EngineContext,
  path: DepotPath,
  { stat, sizeBytes }: Look & { readonly kind: "marker" },
): void {
  const entry = context.manifest.get(path);
  const stored = entry?.stored ?? null;
  if (stored === null) return;
  const { mtimeNs } = entry!.local;
  if (isMarkerOfRow(context, path, entry!, stat)) return;
  throw new RestoreError(
    "CORRUPT",
    `the marker at this name is another file's: it says ${sizeBytes} bytes of ` +
      `${stat.mtimeNs} ns, the manifest ${stored.sizeBytes} of ${mtimeNs}; it was renamed ` +
      "while nobody watched",
  );
}

/** The row that says what to restore; from the store itself if the manifest has none. */
async function storedEntry(
  context: EngineContext,
  path: DepotPath,
  look: Look,
): Promise<FileEntry> {
  let entry = context.manifest.get(path);
  // The disk has less than the row believes: dirty content is gone, or a resident copy.
  if (entry !== null && entry.resident) {
    await observe(context, path, MET);
    entry = context.manifest.get(path);
  }
  if (entry?.flags.borrowed) return await borrowedEntry(context, path, entry);
  if (entry !== null) return entry;
  const adopted = await adoptFromStore(context, path);
  if (adopted !== null) return adopted;
  if (look.kind !== "marker") throw new RestoreError("NOTFOUND", "no such file");
  throw new RestoreError(
    "CORRUPT",
    "the file is evicted, but neither the manifest nor the store knows it; see " +
      "p4-cache rebuild-manifest",
  );
}

/** What its owner has now: it is asked at each restore. */
async function borrowedEntry(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<FileEntry> {
  const now = await followOwner(context, path, entry);
  if (now !== null) return now;
  throw new RestoreError(
    "CORRUPT",
    "it was read from another instance's prefix (read_prefixes), where it is not any more",
  );
}
