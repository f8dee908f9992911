/**
 * The real engine on a real directory: real system calls, a manifest in memory, a store in
 * memory, and no daemon around. Every test gets a depot of its own.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { KeyedLock } from "../../src/core/keyed_lock.ts";
import {
  type BytePath,
  bytePathOf,
  type DepotPath,
  parseDepotPath,
} from "../../src/core/names.ts";
import type { Unproven } from "../../src/engine/drain.ts";
import type { EngineContext, EngineSettings } from "../../src/engine/engine_context.ts";
import { SpaceLedger } from "../../src/engine/space.ts";
import { RecallBudget } from "../../src/engine/recall_budget.ts";
import { Restorer } from "../../src/engine/restore.ts";
import { Departures } from "../../src/engine/departures.ts";
import { ArchivedObjects } from "../../src/engine/archived_objects.ts";
import { DoubtfulKeys } from "../../src/engine/doubtful_keys.ts";
import { ToldUploads } from "../../src/engine/told_uploads.ts";
import { PutBackMarkers } from "../../src/engine/put_back.ts";
import { UnknownMarkers } from "../../src/engine/unknown_markers.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { openMemManifest } from "../../src/manifest/mem_manifest.ts";
import { createMemoryLogger } from "../../src/obs/logger.ts";
import { createMetrics } from "../../src/obs/metrics.ts";
import { nativeFile } from "../../src/posix/native_files.ts";
import {
  namedAfter,
  openPosix,
  type Posix,
  type PublishResult,
  type Walk,
  type WalkEntry,
} from "../../src/posix/posix.ts";
import { SMALL_BYTES_MAX } from "../../src/engine/bring_back.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";

/** For a drain of a depot where nothing is unproven. */
export const NONE_UNPROVEN: Unproven = {
  count: () => 0,
  scan: () => {
    throw new Error("nothing is left to be hashed");
  },
};

export const SETTINGS: EngineSettings = {
  manage: "archives",
  readOnly: false,
  maxCacheBytes: 0,
  lowWatermarkBytes: 0,
  minFreeBytes: 0,
  evictMinAgeSecs: 0,
  evictVerify: "head",
  uploadThreads: 4,
  uploadSettleMs: 0,
  restoreThreads: 16,
  slowRetrySecs: 900,
  enforceContentHash: true,
  storeLookupOnMiss: false,
  deleteGraceSecs: 0,
  deleteMaxPerHour: 1000,
  watcherAllowedUids: new Set([0]),
  borrowedTtlSecs: 0,
  recallMaxBytesPerDay: 0,
  recallUidSharePercent: 100,
};

export interface EngineFixture extends AsyncDisposable {
  readonly context: EngineContext;
  readonly manifest: Manifest;
  readonly posix: Posix;
  readonly primary: StorageBackend;
  readonly restorer: Restorer;
  /** Depot root, as text; test paths are ASCII. */
  readonly root: string;
  readonly failures: Record<string, unknown>[];
  path(text: string): DepotPath;
  /** Writes a file as `p4d` leaves one: whole, by rename. */
  write(path: string, content: string): Promise<void>;
  read(path: string): Promise<string>;
}

/** One of each way in which a restore takes its name. */
export const SIZES = { small: 10, large: SMALL_BYTES_MAX + 1 } as const;

/**
 * From now on `then` is called as soon as a restore has its name, before the engine hears of
 * it; what it gives is what the engine hears. `temp`: the name that the file had before.
 */
export function afterPublishing(
  posix: Posix,
  then: (temp: BytePath) => Promise<PublishResult | void>,
): void {
  const publish = posix.publish.bind(posix);
  posix.publish = async (publication) => {
    const published = await publish(publication);
    if (published.outcome === "failed") return published;
    const outcome = await then(publication.temp);
    return { ...published, outcome: outcome ?? published.outcome };
  };
  const bring = posix.bring.bind(posix);
  posix.bring = async (bringing) => {
    const brought = await bring(bringing);
    if (brought.outcome === "failed") return brought;
    const outcome = await then(namedAfter(bringing.first, brought.stat.ino));
    return { ...brought, outcome: outcome ?? brought.outcome };
  };
}

/**
 * From now on the directory cannot be listed, because of its mode, or as `code` says: root, as whom
 * tests may run, would not mind a mode. Returns what ends that.
 */
export function hideDirectory(
  posix: Posix,
  directory: string,
  code = "EACCES",
): () => void {
  const { openWalk } = posix;
  posix.openWalk = (name, options): Walk => {
    const walk = openWalk.call(posix, name, { ...options, skip: [directory] });
    let isTold = false;
    return {
      async nextBatch(): Promise<WalkEntry[]> {
        const batch = await walk.nextBatch();
        if (isTold) return batch;
        isTold = true;
        return [{ path: directory, kind: "unreadable", code }, ...batch];
      },
      close: () => walk.close(),
    };
  };
  return () => void (posix.openWalk = openWalk);
}

export interface FixtureOptions {
  readonly settings?: Partial<EngineSettings>;
  readonly primary?: StorageBackend;
  readonly secondary?: StorageBackend;
  readonly readStores?: readonly StorageBackend[];
  /** Else one in memory. */
  readonly manifest?: Manifest;
}

export async function openEngineFixture(
  options: FixtureOptions = {},
): Promise<EngineFixture> {
  const root = await Deno.realPath(await Deno.makeTempDir({ prefix: "p4cache-engine-" }));
  for (const name of ["tmp", "evicting"]) {
    await Deno.mkdir(`${root}/.p4cache/${name}`, { recursive: true });
  }
  const posix = openPosix(nativeFile("libp4posix.so"));
  const manifest = options.manifest ?? await openMemManifest();
  const primary = options.primary ?? openMemBackend();
  const failures: Record<string, unknown>[] = [];
  const ledger = { append: (record: object): void => void failures.push({ ...record }) };
  const settings = { ...SETTINGS, ...options.settings };
  let idCount = 0;
  const context: EngineContext = {
    root: bytePathOf(root),
    device: posix.lstat(bytePathOf(root))!.dev,
    posix,
    manifest,
    primary,
    secondary: options.secondary ?? null,
    readStores: options.readStores ?? [],
    settings: () => settings,
    locks: new KeyedLock(),
    evictions: new KeyedLock(),
    putBack: new PutBackMarkers(),
    unknownMarkers: new UnknownMarkers(),
    scans: { isWhole: () => true, areRenamesTold: () => true, request: () => {} },
    archived: new ArchivedObjects(),
    doubtfulKeys: new DoubtfulKeys(),
    clock: SYSTEM_CLOCK,
    departures: new Departures(),
    eventsUntilNow: () => Promise.resolve(true),
    unwatched: () => null,
    applyDeletesBelow: () => Promise.resolve(),
    newId: () => `id${++idCount}`,
    log: createMemoryLogger(),
    metrics: createMetrics(),
    failedOps: ledger,
    failedUploads: { append: (): void => {} },
    toldUploads: new ToldUploads(),
    refuseUpload: () => null,
    signal: new AbortController().signal,
  };
  const space = new SpaceLedger(context, () => {});
  const recall = new RecallBudget(context);
  const restorer = new Restorer({ context, space, recall }, () => {});
  return {
    context,
    manifest,
    posix,
    primary,
    restorer,
    root,
    failures,
    path: parseDepotPath,
    async write(path: string, content: string): Promise<void> {
      await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${root}/${path}.new`, content);
      await Deno.rename(`${root}/${path}.new`, `${root}/${path}`);
    },
    read: (path) => Deno.readTextFile(`${root}/${path}`),
    async [Symbol.asyncDispose](): Promise<void> {
      await manifest.close();
      posix[Symbol.dispose]();
      await Deno.remove(root, { recursive: true });
    },
  };
}
