/**
 * Evicts clean files: their bytes leave the local disk, a marker takes their place.
 *
 * Where the copies are: the store confirms its copy right before; the local file leaves
 * only if it is, by inode, size, times and lease, the very file whose hash was stored.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import type { BytePath, DepotPath } from "../core/names.ts";
import type { FileEntry, StoredVersion } from "../manifest/manifest.ts";
import { lookUpBorrowed, storeOfBorrowed } from "./borrowed.ts";
import { isEvictable } from "../manifest/transitions.ts";
import {
  absolute,
  asideName,
  type EngineContext,
  evictingDirectory,
  hasSameContent,
  isAsideOf,
  isManagedHere,
  isUnchanged,
  localStatOf,
  nowSeconds,
  shown,
} from "./engine_context.ts";
import { evictableFromS, type EvictLimits } from "./evict_plan.ts";
import { lookAt } from "./local_file.ts";
import { MET, observe } from "./observe.ts";
import { settleAside } from "./recovery.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";

/**
 * evicted, or why not. unmanaged: nobody would bring it back. far-time: its mtime would be another
 * once it is back. unconfirmed: the store does not show the object as it should be.
 */
export type EvictOutcome =
  | "evicted"
  | "not-evictable"
  | "unmanaged"
  | "far-time"
  | "young"
  | "busy"
  | "changed"
  | "linked"
  | "unconfirmed";

/** Evicts one file, if nothing speaks against it. */
export function evict(
  context: EngineContext,
  path: DepotPath,
  limits: Pick<EvictLimits, "evictMinAgeSecs"> = context.settings(),
): Promise<EvictOutcome> {
  return context.locks.run(path, async () => {
    if (!isManagedHere(context, path)) return "unmanaged";
    const entry = evictableEntry(context, path, limits);
    if (typeof entry === "string") return entry;
    const kept = await reasonOfFile(context, path, entry);
    if (kept !== null) return kept;
    // Only its ctime may have been another, and the row has that by now.
    const known = evictableEntry(context, path, limits);
    if (typeof known === "string") return known;
    if (!await isConfirmed(context, path, known)) return "unconfirmed";
    crashPoint("evict/confirmed");
    return await putMarkerInPlace(context, path, known);
  });
}

/** The row, or why it keeps its file. */
function evictableEntry(
  context: EngineContext,
  path: DepotPath,
  limits: Pick<EvictLimits, "evictMinAgeSecs">,
): FileEntry | "not-evictable" | "far-time" | "young" {
  const entry = context.manifest.get(path);
  if (entry === null || !isEvictable(entry) || entry.stored === null) {
    return "not-evictable";
  }
  if (isFarTime(entry)) return "far-time";
  const nowS = nowSeconds(context);
  const fromS = evictableFromS(entry, limits, nowS);
  return fromS === null || fromS > nowS ? "young" : entry;
}

/** Why the local file stays; null if it is the one that was hashed. Else its row is told. */
async function reasonOfFile(
  context: EngineContext,
  path: DepotPath,
  { local }: FileEntry,
): Promise<"changed" | "linked" | null> {
  const look = lookAt(context, path);
  if (look.kind === "absent") return "changed";
  if (look.kind === "file" && hasSameContent(look.stat, local)) {
    if (isLinked(context, path)) return "linked";
    if (isUnchanged(look.stat, local)) return null;
  }
  // After a chmod of all, all others would be hashed, too, before the first of them goes.
  return await observe(context, path, MET) === "attributes" ? null : "changed";
}

function isLinked(context: EngineContext, path: DepotPath): boolean {
  const stat = context.posix.lstat(absolute(context, path));
  return stat?.kind === "file" && stat.nlink > 1;
}

/** The ends of what nanoseconds in 64 bits hold, which stand for all times beyond (posix.h). */
const TIME_NS_MIN = -(2n ** 63n) + 1n;
const TIME_NS_MAX = 2n ** 63n - 1n;

/** Whether the mtime is none that can be kept: before 1677-09-22 or after 2262-04-11. Pure. */
export function isFarTime({ local: { mtimeNs } }: FileEntry): boolean {
  return mtimeNs <= TIME_NS_MIN || mtimeNs >= TIME_NS_MAX;
}

/**
 * Whether the store has the object, by size and hash; `full`: by its very bytes. An object
 * whose recorded hash is gone is read too: its size alone says nothing about its bytes.
 */
export async function objectShown(
  context: EngineContext,
  store: StorageBackend,
  stored: StoredVersion,
  verify: "head" | "full" = "head",
): Promise<boolean> {
  const info = await store.head(stored.key, context.signal);
  return await isShown(context, { store, stored, verify }, info);
}

interface Confirmation {
  readonly store: StorageBackend;
  readonly stored: StoredVersion;
  readonly verify: "head" | "full";
}

async function isShown(
  { signal }: EngineContext,
  { store, stored, verify }: Confirmation,
  info: ObjectInfo | null,
): Promise<boolean> {
  const hash = info?.metadata?.hash ?? null;
  const isGood = isLike(info, stored);
  if (!isGood || (verify === "head" && hash !== null)) return isGood;
  const result = await store.download({
    key: stored.key,
    sizeBytes: stored.sizeBytes,
    target: NOWHERE,
    inOrder: true,
    signal,
  });
  return result.hash === stored.hash;
}

/** As far as a HEAD tells. */
function isLike(info: ObjectInfo | null, stored: StoredVersion): info is ObjectInfo {
  const hash = info?.metadata?.hash ?? null;
  return info !== null && info.sizeBytes === stored.sizeBytes &&
    (hash === null || hash === stored.hash);
}

/** Asks the store right before the local bytes go. */
async function isConfirmed(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<boolean> {
  const stored = entry.stored!;
  if (entry.flags.borrowed) return await isOwnedElsewhere(context, path, stored);
  const { primary } = context;
  const info = await primary.head(stored.key, context.signal);
  if (isLike(info, stored) && isInArchive(context, path, info)) return false;
  const { evictVerify: verify } = context.settings();
  if (await isShown(context, { store: primary, stored, verify }, info)) return true;
  context.metrics.count("p4cache_evict_refused_total");
  context.log.error(
    "the store does not have what the manifest says; the local file stays, and is " +
      "uploaded again",
    { ...shown(path), key: stored.key },
  );
  await uploadAgain(context, path);
  return false;
}

/** Once evicted, the file could be read only after hours. Another upload would not help. */
function isInArchive(
  { archived, clock, metrics, log }: EngineContext,
  path: DepotPath,
  { key, archive, storageClass }: ObjectInfo,
): boolean {
  if (archive !== "archived" && archive !== "retrieving") {
    archived.forget(key);
    return false;
  }
  const nowMs = clock.monotonicMs();
  if (!archived.note(key, nowMs)) return true;
  metrics.count("p4cache_evict_refused_total");
  if (archived.mayTell(nowMs)) {
    log.warn(
      "the store has archived the object of a file that is still on disk: such files stay " +
        "there; take the lifecycle rule away",
      { ...shown(path), key, storageClass },
    );
  }
  return true;
}

/**
 * Its owner has these bytes, or newer ones that take their place. A file that the owner has
 * no more stays here, also if it has an older version: its store may be that of a snapshot, or a
 * replica that lags. It is not ours to upload.
 */
export async function isOwnedElsewhere(
  context: EngineContext,
  path: DepotPath,
  stored: StoredVersion,
): Promise<boolean> {
  const store = await storeOfBorrowed(context, stored);
  if (store !== null) {
    const info = await store.head(stored.key, context.signal);
    if (isLike(info, stored) && isInArchive(context, path, info)) return false;
    const { evictVerify: verify } = context.settings();
    return await isShown(context, { store, stored, verify }, info);
  }
  const newest = await lookUpBorrowed(context, path);
  if (newest !== null && newest.stored.mtimeNs > stored.mtimeNs) {
    return !isInArchive(context, path, newest.info);
  }
  context.metrics.count("p4cache_evict_refused_total");
  context.log.warn(
    "no prefix of read_prefixes has this version of a borrowed file, or a newer one; it stays",
    { ...shown(path), key: stored.key },
  );
  return false;
}

/** A target of bytes that only their hash is wanted of. */
const NOWHERE = {
  write: (): Promise<void> => Promise.resolve(),
  read: (): Promise<number> => Promise.reject(new Error("nothing was kept to be read")),
};

/** The local file is the only good copy now: dirty. */
async function uploadAgain(context: EngineContext, path: DepotPath): Promise<void> {
  const entry = context.manifest.get(path);
  const look = lookAt(context, path);
  if (entry === null || look.kind !== "file") return;
  await context.manifest.apply(path, entry.generation, {
    kind: "written",
    stat: look.stat,
    nowS: nowSeconds(context),
  });
}

/**
 * The exchange with the marker, and the row. Not if the row is another by now than `entry`, or keeps
 * its file. The caller holds the path's lock.
 */
export async function putMarkerInPlace(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<EvictOutcome> {
  const name = asideName(context.newId(), entry.local);
  const aside = `${evictingDirectory(context.root)}/${name}`;
  const { outcome, isRecorded } = await context.evictions
    .run(path, () => exchangeAndRecord(context, path, entry, aside))
    .catch(async (error) => {
      await settleAside(context, aside, (stat) => isAsideOf(name, stat));
      throw error;
    });
  if (outcome === "busy" || outcome === "not-evictable" || isRecorded) return outcome;
  // What lies there now decides. A name that is gone was renamed or deleted: the event that
  // says so is on its way.
  if (lookAt(context, path).kind !== "absent") await observe(context, path, MET);
  return outcome;
}

interface Eviction {
  readonly outcome: EvictOutcome;
  /** The row knows the marker, and the marker still has the name. */
  readonly isRecorded: boolean;
}

async function exchangeAndRecord(
  context: EngineContext,
  path: DepotPath,
  { generation, local }: FileEntry,
  aside: BytePath,
): Promise<Eviction> {
  const { posix, manifest, metrics } = context;
  // Here, where nothing is waited for any more: what the row says of a file that is gone is too late.
  const row = manifest.get(path);
  if (row?.generation !== generation) return { outcome: "changed", isRecorded: false };
  if (!isEvictable(row)) return { outcome: "not-evictable", isRecorded: false };
  const { sizeBytes, mtimeNs, ctimeNs, mode, uid, gid, ino } = local;
  const target = absolute(context, path);
  const result = await posix.putMarker({
    target,
    aside,
    expect: { ino, sizeBytes, mtimeNs, ctimeNs },
    marker: { sizeBytes, mode, uid, gid, mtimeNs },
  });
  if (result.outcome !== "evicted") return { outcome: result.outcome, isRecorded: false };
  crashPoint("evict/marker-in-place");
  metrics.count("p4cache_evictions_total");
  metrics.count("p4cache_evicted_bytes_total", {}, sizeBytes);
  // By its inode, under whatever name it is by now: its old one may be another file's.
  const { outcome } = await manifest.apply(path, generation, {
    kind: "evicted",
    marker: { ...localStatOf(result.marker), sizeBytes },
  });
  crashPoint("evict/row-evicted");
  const isThere = posix.lstat(target)?.ino === result.marker.ino;
  return { outcome: "evicted", isRecorded: outcome === "applied" && isThere };
}

/** A store that does not answer keeps the file here: logged, and tried in a later pass. */
export async function evictOrLog(
  context: EngineContext,
  path: DepotPath,
  limits?: Pick<EvictLimits, "evictMinAgeSecs">,
): Promise<EvictOutcome> {
  try {
    return await evict(context, path, limits);
  } catch (error) {
    if (!(error instanceof Error) || error.name === "InvariantError") throw error;
    context.log.warn(`cannot evict: ${error.message}`, shown(path));
    return "unconfirmed";
  }
}
