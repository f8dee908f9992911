/**
 * The real engine with its loops over a disk, a clock, a manifest and a store in memory, for
 * tests in which hours pass. Nothing fails here and nothing is interleaved on purpose: that
 * is what tests/model is for.
 *
 * @module
 */

import { KeyedLock } from "../../src/core/keyed_lock.ts";
import { type DepotPath, parseDepotPath } from "../../src/core/names.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineContext, EngineSettings } from "../../src/engine/engine_context.ts";
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
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { SETTINGS } from "./engine_fixture.ts";
import { ManualClock } from "./manual_clock.ts";
import { MemDisk } from "./mem_disk.ts";
import { MemPosix } from "./mem_posix.ts";

const ROOT = "/depot";

export interface SimEngine extends AsyncDisposable {
  readonly clock: ManualClock;
  readonly engine: Engine;
  readonly manifest: Manifest;
  readonly context: EngineContext;
  readonly log: ReturnType<typeof createMemoryLogger>;
  /** A new file under its final name, as `p4d` leaves one, and the watcher's event of it. */
  write(path: string, sizeBytes: number): Promise<void>;
  /** open(2) through the shim: the restore, if it needs one, and the access event. */
  read(path: string): Promise<"hot" | "cold">;
  isResident(path: string): boolean;
}

export interface SimOptions {
  /** Wall time at the beginning. */
  readonly start?: string;
  /** Of the disk. */
  readonly capacityBytes?: number;
}

export async function openSimEngine(
  changes: Partial<EngineSettings> = {},
  { start, capacityBytes }: SimOptions = {},
): Promise<SimEngine> {
  const clock = new ManualClock(start);
  const disk = new MemDisk(() => BigInt(clock.nowMs()) * 1_000_000n, capacityBytes);
  for (const name of ["", "/.p4cache", "/.p4cache/tmp", "/.p4cache/evicting"]) {
    disk.create("mkdir", `${ROOT}${name}`, "directory", 0o755);
  }
  const manifest = await openMemManifest();
  const log = createMemoryLogger();
  const stop = new AbortController();
  const settings = { ...SETTINGS, evictMinAgeSecs: 60, ...changes };
  let idCount = 0;
  const context: EngineContext = {
    root: ROOT,
    device: disk.statOf(disk.get("stat", ROOT)).dev,
    posix: new MemPosix(disk),
    manifest,
    primary: openMemBackend({ nowMs: () => clock.nowMs() }),
    secondary: null,
    readStores: [],
    settings: () => settings,
    locks: new KeyedLock(),
    evictions: new KeyedLock(),
    putBack: new PutBackMarkers(),
    unknownMarkers: new UnknownMarkers(),
    scans: { isWhole: () => true, areRenamesTold: () => true, request: () => {} },
    archived: new ArchivedObjects(),
    doubtfulKeys: new DoubtfulKeys(),
    departures: new Departures(),
    eventsUntilNow: () => Promise.resolve(true),
    unwatched: () => null,
    applyDeletesBelow: () => Promise.resolve(),
    clock,
    newId: () => `id${++idCount}`,
    log,
    metrics: createMetrics(),
    failedOps: { append: (): void => {} },
    failedUploads: { append: (): void => {} },
    toldUploads: new ToldUploads(),
    refuseUpload: () => null,
    signal: stop.signal,
  };
  const engine = new Engine(context);
  const running = engine.run();
  const kindOf = (path: string): string | undefined => disk.find(`${ROOT}/${path}`)?.kind;
  return {
    clock,
    engine,
    manifest,
    context,
    log,
    write: async (path, sizeBytes) => {
      const target = `${ROOT}/${path}`;
      const inode = disk.create("create", `${ROOT}/tmp.1`, "file", 0o444);
      disk.setBytes("write", inode, bytesFor(path, sizeBytes));
      disk.rename("rename", `${ROOT}/tmp.1`, target);
      await engine.wrote(parseDepotPath(path), 0);
    },
    read: async (path) => {
      const result = kindOf(path) === "file" ? "hot" : "cold";
      if (result === "cold") await engine.restore(parseDepotPath(path) as DepotPath);
      engine.accessed(path, clock.nowMs());
      return result;
    },
    isResident: (path) => kindOf(path) === "file",
    async [Symbol.asyncDispose](): Promise<void> {
      stop.abort(new Error("the test is over"));
      await running;
      await manifest.close();
    },
  };
}

function bytesFor(path: string, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < sizeBytes; i++) bytes[i] = path.charCodeAt(i % path.length);
  return bytes;
}
