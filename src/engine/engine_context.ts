/**
 * What every part of the engine works with, and the few facts that they share: where a path
 * lies on the disk, which operations hold it, and how a local file is described.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { KeyedLock } from "../core/keyed_lock.ts";
import {
  type BytePath,
  bytesOf,
  type DepotPath,
  displayPath,
  firstKeyFor,
  isManaged,
  type ManagePolicy,
  type ObjectKey,
} from "../core/names.ts";
import type { Leaving, LocalStat, Manifest } from "../manifest/manifest.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";
import type { FileStat, Posix } from "../posix/posix.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { createContentHasher } from "../storage/hashing.ts";
import type { ArchivedObjects } from "./archived_objects.ts";
import type { Departures } from "./departures.ts";
import type { DoubtfulKeys } from "./doubtful_keys.ts";
import type { PutBackMarkers } from "./put_back.ts";
import type { ToldUploads } from "./told_uploads.ts";
import type { DepotScans, UnknownMarkers } from "./unknown_markers.ts";

/** Settings of the engine. Read anew at each use, because some change while it runs. */
export interface EngineSettings {
  readonly manage: ManagePolicy;
  readonly readOnly: boolean;
  /** Cache limit in bytes; 0: none. */
  readonly maxCacheBytes: number;
  /** What the cache is brought below when it is over the limit, before the 90 %. */
  readonly lowWatermarkBytes: number;
  /** Free space on the depot's disk that nothing of ours may use. */
  readonly minFreeBytes: number;
  readonly evictMinAgeSecs: number;
  readonly evictVerify: "head" | "full";
  readonly uploadThreads: number;
  /** A file is left alone until its mtime is this old. */
  readonly uploadSettleMs: number;
  readonly restoreThreads: number;
  readonly slowRetrySecs: number;
  readonly enforceContentHash: boolean;
  readonly storeLookupOnMiss: boolean;
  readonly deleteGraceSecs: number;
  readonly deleteMaxPerHour: number;
  readonly watcherAllowedUids: ReadonlySet<number>;
  /** A resident borrowed `,v` is asked for again after this; 0: never. */
  readonly borrowedTtlSecs: number;
  /** 0: no limit. */
  readonly recallMaxBytesPerDay: number;
  /** What one user may have of it, in percent. */
  readonly recallUidSharePercent: number;
}

/** Terminal failures, one JSON record each, for the operator. */
export interface FailureLedger {
  append(record: Readonly<Record<string, unknown>>): void;
}

export interface EngineContext {
  /** The depot root: absolute, no trailing slash. */
  readonly root: BytePath;
  /** st_dev of the root; files of other devices are not managed. */
  readonly device: bigint;
  readonly posix: Posix;
  readonly manifest: Manifest;
  readonly primary: StorageBackend;
  /** Read on not-found of the primary only. */
  readonly secondary: StorageBackend | null;
  /** Prefixes of other instances, in the order in which they are asked. Never written. */
  readonly readStores: readonly StorageBackend[];
  readonly settings: () => EngineSettings;
  readonly locks: KeyedLock;
  /**
   * By path, from the exchange of a file with its marker until its row knows the marker by its
   * inode. Never held across a wait for events: a rename waits for it.
   */
  readonly evictions: KeyedLock;
  readonly putBack: PutBackMarkers;
  readonly unknownMarkers: UnknownMarkers;
  readonly scans: DepotScans;
  readonly archived: ArchivedObjects;
  readonly doubtfulKeys: DoubtfulKeys;
  readonly departures: Departures;
  /**
   * Resolves with true when every change of the depot that was made before the call has been
   * taken in; with false when the watcher is not there to tell. See `catchUp`.
   */
  readonly eventsUntilNow: () => Promise<boolean>;
  /**
   * How far a difference that nobody reported may be a write, until the first whole scan of the
   * depot is over: it may be of before the start. Null: since then, all that is met was done
   * while the daemon watched.
   */
  readonly unwatched: () => "newer" | "none" | null;
  /**
   * Applies what the shim wrote down of names below a directory that is about to move, and that
   * the watcher told to be gone. It does not wait for events: it is called from one.
   */
  readonly applyDeletesBelow: (directory: DepotPath) => Promise<void>;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly failedOps: FailureLedger;
  readonly failedUploads: FailureLedger;
  readonly toldUploads: ToldUploads;
  /** Asked before each upload; a text is the reason why not. */
  readonly refuseUpload: () => string | null;
  /** Ends whatever is under way when the daemon stops. */
  readonly signal: AbortSignal;
}

export function absolute(context: EngineContext, path: DepotPath): BytePath {
  return `${context.root}/${path}`;
}

/** One that has a row may be unmanaged all the same: `manage` was another, or somebody imported it. */
export function isManagedHere({ settings }: EngineContext, path: DepotPath): boolean {
  return isManaged(path, settings().manage);
}

export function temporaryDirectory(root: BytePath): BytePath {
  return `${root}/.p4cache/tmp`;
}

export function evictingDirectory(root: BytePath): BytePath {
  return `${root}/.p4cache/evicting`;
}

/**
 * The name under which an eviction takes a file out: it says which file that is, so that
 * a restart knows it from one that took its place in the last moment.
 */
export function asideName(id: string, local: LocalStat): string {
  return `${id}.${fingerprint(local)}`;
}

/** Whether the file that lies under an {@linkcode asideName} is the one it was made for. */
export function isAsideOf(name: string, stat: LocalStat): boolean {
  return name.slice(name.indexOf(".") + 1) === fingerprint(stat);
}

/** Whether what lies under a name in tmp/ is a download of ours. */
export function isTemporaryOf(name: string, ino: bigint): boolean {
  return !name.includes(".") || name.endsWith(`.${ino}`);
}

/** What a rename leaves as it was. */
function fingerprint({ ino, sizeBytes, mtimeNs }: LocalStat): string {
  return `${ino}.${sizeBytes}.${mtimeNs}`;
}

export function parentOf(path: BytePath): BytePath {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

/** A delete or a rename is to outlive what they hold under the name. */
export function hasOtherStores({ secondary, readStores }: EngineContext): boolean {
  return secondary !== null || readStores.length > 0;
}

/** What is to stay of the names that files leave. */
export function leavingIn(context: EngineContext): Leaving {
  return { whiteout: hasOtherStores(context), firstKey };
}

/** The key of the path's first version. */
export function firstKey(path: DepotPath): ObjectKey {
  return firstKeyFor(path, () => hashOfText(path));
}

/** BLAKE3-256 of text with one character per byte, as lower-case hex. */
export function hashOfText(text: string): string {
  const hasher = createContentHasher();
  hasher.update(bytesOf(text));
  return hasher.digestHex();
}

export function nowSeconds(context: EngineContext): number {
  return Math.floor(context.clock.nowMs() / 1000);
}

/** For log lines. */
export function shown(path: DepotPath): { path: string } {
  return { path: displayPath(path) };
}

export function localStatOf(stat: FileStat): LocalStat {
  const { sizeBytes, mtimeNs, ctimeNs, mode, uid, gid, ino, dev } = stat;
  return { sizeBytes, mtimeNs, ctimeNs, mode, uid, gid, ino, dev };
}

/** Same inode, size and times: nobody wrote it, and nobody changed its attributes. */
export function isUnchanged(stat: LocalStat, known: LocalStat): boolean {
  return hasSameContent(stat, known) && stat.ctimeNs === known.ctimeNs;
}

/** Same inode, size and mtime. What chmod, link and rename leave alone. */
export function hasSameContent(stat: LocalStat, known: LocalStat): boolean {
  return stat.ino === known.ino && stat.sizeBytes === known.sizeBytes &&
    stat.mtimeNs === known.mtimeNs;
}
