/**
 * Uploads one dirty file.
 *
 * Where the copies are: until the row is clean the local file is the only one, and nothing
 * here touches it. The row becomes clean by compare-and-set, after the store acknowledged
 * bytes that hash to what the flushed local file hashes to, under a key that never held
 * other bytes.
 *
 * @module
 */

import { assert, InvariantError } from "../core/assert.ts";
import { crashPoint } from "../core/crash_point.ts";
import {
  type DepotPath,
  type ObjectKey,
  percentEncoded,
  versionKeyFor,
} from "../core/names.ts";
import {
  type FileEntry,
  type LocalStat,
  ManifestError,
  type StoredVersion,
} from "../manifest/manifest.ts";
import { isParked } from "../manifest/row.ts";
import type { ObjectInfo, ObjectMetadata } from "../storage/backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import {
  absolute,
  type EngineContext,
  firstKey,
  hashOfText,
  hasSameContent,
  isManagedHere,
  isUnchanged,
  localStatOf,
  shown,
} from "./engine_context.ts";
import { unlessBehind } from "./caught_up.ts";
import { VANISH_GRACE_MS } from "./departures.ts";
import { hashOpenFile, isAbsent, lookAt } from "./local_file.ts";
import { buryLostUpload } from "./lost_upload.ts";
import { newestVersion } from "./newest_version.ts";
import { MET, observe, REPORTED_APART } from "./observe.ts";

/**
 * uploaded: clean now. changed: the file was written meanwhile, and is dirty again.
 * not-dirty: nothing to do. failed: in the ledger; tried again by the slow retry.
 */
export type UploadOutcome = "uploaded" | "changed" | "not-dirty" | "failed";

/** A name that is gone is looked at after its grace: until then nothing is to be sent. */
const GONE_RETRY_MS = VANISH_GRACE_MS + 1_000;

/** While the manifest cannot be written (a full disk), in milliseconds. */
const GIVE_BACK_RETRY_MS = 1_000;

/** Uploads `path` if it is dirty. One at a time per path; not with an eviction or restore. */
export function upload(context: EngineContext, path: DepotPath): Promise<UploadOutcome> {
  return context.locks.run(path, async () => {
    const entry = context.manifest.get(path);
    // Parked since it was read from the queue: it waits for a person.
    if (entry === null || entry.state !== "dirty" || isParked(entry)) return "not-dirty";
    const started = await context.manifest.apply(path, entry.generation, {
      kind: "upload-started",
    });
    if (started.outcome !== "applied" || started.entry === null) return "changed";
    crashPoint("upload/row-uploading");
    return await uploadStarted(context, path, started.entry);
  });
}

async function uploadStarted(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<UploadOutcome> {
  const startedMs = context.clock.monotonicMs();
  try {
    const outcome = await attempt(context, path, entry);
    if (outcome === "changed") {
      const nowMs = context.clock.nowMs();
      const isGone = isAbsent(context, path);
      await giveBack(context, path, isGone ? nowMs + GONE_RETRY_MS : null);
    } else {
      const seconds = (context.clock.monotonicMs() - startedMs) / 1000;
      context.metrics.count("p4cache_uploads_total", { result: "success" });
      context.metrics.observe("p4cache_upload_seconds", seconds, { result: "success" });
      if (context.toldUploads.forget(path)) {
        context.log.info("uploaded, after it had failed", shown(path));
      }
      if (entry.flags.secondaryOnly) {
        context.metrics.count("p4cache_secondary_copies_total");
        context.log.info("copied from the secondary to the primary store", shown(path));
      }
    }
    return outcome;
  } catch (error) {
    if (error instanceof InvariantError || context.signal.aborted) throw error;
    await recordFailure(context, path, entry, error);
    return "failed";
  }
}

/**
 * The row is dirty again and looked at again. Nobody else uploads this path while we hold its
 * lock: a row that is uploading is ours, also if its attributes changed meanwhile.
 */
async function giveBack(
  context: EngineContext,
  path: DepotPath,
  retryAtMs: number | null,
): Promise<void> {
  const { manifest, clock, signal } = context;
  for (;;) {
    const current = manifest.get(path);
    if (current?.state !== "uploading") break;
    try {
      await manifest.apply(path, current.generation, {
        kind: "upload-failed",
        retryAtMs,
      });
    } catch (error) {
      // A row that stays uploading would not be tried again before the next start.
      if (!(error instanceof ManifestError)) throw error;
      await clock.sleep(GIVE_BACK_RETRY_MS, signal);
    }
  }
  crashPoint("upload/row-given-back");
  // A name that is gone was renamed or deleted: what says so is on its way, and is waited for. Where it
  // came before the row, nothing else would end this upload.
  if (!isAbsent(context, path)) await observe(context, path, MET);
  else await unlessBehind(observe(context, path, REPORTED_APART));
}

async function attempt(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
): Promise<"uploaded" | "changed"> {
  const { posix } = context;
  if (!isManagedHere(context, path)) {
    throw new Error(
      "its name is not managed; the file stays as it is, and its row waits until `manage` " +
        "takes such names again",
    );
  }
  // Nothing would change by looking again, and what is mounted there is not the row's file.
  if (lookAt(context, path).kind === "elsewhere") {
    throw new Error(
      "its directory is on another file system than the depot's root now: is something " +
        "mounted over it?",
    );
  }
  let fd: number;
  try {
    fd = posix.openRead(absolute(context, path));
  } catch (error) {
    // Absent, a marker, a directory, a link: what it is now decides. Anything else (EIO,
    // EACCES, EMFILE) is a failure of this upload.
    if (error instanceof Error && "code" in error && isNoFile(error.code)) {
      return "changed";
    }
    throw error;
  }
  try {
    const before = localStatOf(posix.fstat(fd));
    if (!hasSameContent(before, entry.local)) return "changed";
    // Clean means that the bytes survive a power cut on both sides.
    await posix.fdatasync(fd);
    crashPoint("upload/flushed");
    const hash = await hashOpenFile(posix, fd, before.sizeBytes, context.signal);
    const content = { fd, stat: before, hash, entry };
    crashPoint("upload/hashed");
    // The sweeper removes objects of tombstones under the same lock: an object that was
    // found under its key must still be there when the row begins to name it.
    return await context.locks.run(`key:${firstKey(path)}`, async () => {
      const stored = await storedAlready(context, path, content) ??
        await send(context, path, content);
      crashPoint("upload/stored");
      const after = localStatOf(posix.fstat(fd));
      if (!isUnchanged(after, before)) {
        await context.manifest.orphaned(path, stored, before);
        return "changed";
      }
      const { outcome } = await context.manifest.apply(path, entry.generation, {
        kind: "uploaded",
        stored,
        stat: after,
        nowMs: context.clock.nowMs(),
      });
      crashPoint("upload/row-clean");
      if (outcome === "applied") return "uploaded";
      await context.manifest.orphaned(path, stored, before);
      return "changed";
    });
  } finally {
    posix.close(fd);
  }
}

function isNoFile(code: unknown): boolean {
  return code === "ENOENT" || code === "ENOTDIR" || code === "ENXIO" ||
    code === "ELOOP" ||
    code === "EISDIR" || code === "EINVAL";
}

interface Content {
  readonly fd: number;
  readonly stat: LocalStat;
  readonly hash: string;
  /** The row. Its generation grows from one upload of the path to the next. */
  readonly entry: FileEntry;
}

/**
 * The same bytes as before (only times or owner changed, or they were written back), and
 * the store still shows them: no transfer.
 */
async function storedAlready(
  context: EngineContext,
  path: DepotPath,
  content: Content,
): Promise<StoredVersion | null> {
  const { hash, stat, entry: { stored: previous } } = content;
  if (previous === null || previous.hash !== hash) return null;
  if (isDoubtful(context, previous.key)) return null;
  const info = await context.primary.head(previous.key, context.signal);
  if (info === null || !isSame(info, hash, stat.sizeBytes)) return null;
  const newest = await newestVersion(context.primary, firstKey(path), context.signal);
  // Of a file that was renamed, the store has no version under this name.
  return newest === null || newest.key === previous.key
    ? previous
    : storedAs(context, newest, content);
}

/** The version that `info` is, if it has the content and is to stay. */
function storedAs(
  context: EngineContext,
  info: ObjectInfo,
  content: Content,
): StoredVersion | null {
  const { hash, stat } = content;
  const isIt = isSame(info, hash, stat.sizeBytes) && !isDoubtful(context, info.key);
  return isIt ? versionOf(info, content) : null;
}

/** What has the key may be removed yet, by a request of ours that went unanswered. */
function isDoubtful({ doubtfulKeys, clock }: EngineContext, key: ObjectKey): boolean {
  return doubtfulKeys.has(key, clock.monotonicMs());
}

function versionOf(
  { key, versionId }: ObjectInfo,
  { hash, stat }: Content,
): StoredVersion {
  return { key, hash, sizeBytes: stat.sizeBytes, mtimeNs: stat.mtimeNs, versionId };
}

function isSame(info: ObjectInfo, hash: string, sizeBytes: number): boolean {
  return info.sizeBytes === sizeBytes && info.metadata?.hash === hash;
}

/** Puts the bytes under a key that is free, or finds that a key has exactly them. */
async function send(
  context: EngineContext,
  path: DepotPath,
  content: Content,
): Promise<StoredVersion> {
  const refusal = context.refuseUpload();
  if (refusal !== null) throw new Error(refusal);
  const first = firstKey(path);
  // Its own later versions never go to the first key: there, older bytes stand or stood. Nor does
  // anything while a file that was renamed is stored under it, be that in the secondary only.
  const { entry } = content;
  const isFirst = entry.stored === null && !context.manifest.isNamed(first);
  const keys = isFirst
    ? [first, versionKeyFor(first, content.hash)]
    : [versionKeyFor(first, content.hash)];
  // A content that comes back after another one is stored once more, if need be.
  const again = versionKeyFor(first, hashOfText(`${content.hash} ${entry.generation}`));
  for (const key of [...keys, again]) {
    if (isDoubtful(context, key)) continue;
    const put = await putOrFind(context, path, key, content);
    if (put === null) {
      if (isFirst && key === first) await buryLostUpload(context, path, entry);
      continue;
    }
    if (put.isNew) return versionOf(put.info, content);
    const newest = await newestVersion(context.primary, first, context.signal);
    const version = newest === null ? null : storedAs(context, newest, content);
    if (version !== null) return version;
  }
  throw new Error(
    `the store has other bytes under ${
      keys.at(-1)
    }, which is named after this content's hash, or shows none of its versions: ` +
      `somebody wrote into the store`,
  );
}

/** Null if the key holds other bytes. */
async function putOrFind(
  context: EngineContext,
  path: DepotPath,
  key: ObjectKey,
  { fd, stat, hash, entry }: Content,
): Promise<{ readonly info: ObjectInfo; readonly isNew: boolean } | null> {
  const { posix, primary, signal } = context;
  const metadata: ObjectMetadata = {
    hash,
    mtimeNs: stat.mtimeNs,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    path: percentEncoded(path),
    generation: entry.generation,
  };
  try {
    const info = await primary.upload({
      key,
      source: {
        sizeBytes: stat.sizeBytes,
        read: (buffer, offset) =>
          posix.read(fd, buffer as Uint8Array<ArrayBuffer>, offset),
      },
      metadata,
      signal,
    });
    context.metrics.count("p4cache_upload_bytes_total", {}, stat.sizeBytes);
    return { info, isNew: true };
  } catch (error) {
    if (!(error instanceof StorageError) || error.fault !== "precondition") throw error;
  }
  const info = await primary.head(key, signal);
  if (info === null) {
    throw new StorageError("unavailable", {
      operation: "upload",
      key,
      detail: "the store says that the key is taken and that it is absent",
    });
  }
  return isSame(info, hash, stat.sizeBytes) ? { info, isNew: false } : null;
}

async function recordFailure(
  context: EngineContext,
  path: DepotPath,
  entry: FileEntry,
  error: unknown,
): Promise<void> {
  assert(error instanceof Error, "only errors are thrown");
  const retryInSecs = context.settings().slowRetrySecs;
  context.metrics.count("p4cache_uploads_total", { result: "failure" });
  tellFailure(context, path, { entry, error, retryInSecs });
  await giveBack(context, path, context.clock.nowMs() + retryInSecs * 1000);
}

interface Failure {
  readonly entry: FileEntry;
  readonly error: Error;
  readonly retryInSecs: number;
}

/** Once, and not with each retry that meets it again. */
function tellFailure(
  context: EngineContext,
  path: DepotPath,
  { entry, error, retryInSecs }: Failure,
): void {
  const { toldUploads, failedUploads, failedOps, log } = context;
  const telling = toldUploads.note(path, entry.local, error);
  if (telling === "full") {
    log.error("more uploads fail than are told of one by one: see p4-cache status");
  }
  if (telling !== "new") return;
  const record = {
    op: "upload",
    ...shown(path),
    error: error.message,
    fault: error instanceof StorageError ? error.fault : "local",
    retryInSecs,
  };
  failedUploads.append(record);
  failedOps.append(record);
  log.error(`upload failed; the file stays local and dirty: ${error.message}`, {
    ...shown(path),
    retryInSecs,
  });
}
