/**
 * Copies to the primary store what only the secondary has.
 *
 * Where the copies are: the secondary keeps its object, whatever happens here, and the
 * primary gets one under a key that was free, after its bytes hashed to what the manifest
 * says. Nothing in either store is overwritten or removed. An object that is there already
 * is left alone, so that a run may end at any time and the next one does what is left.
 *
 * It runs where the depot's lock is held, in the daemon or in its place: a service that does
 * not enforce if-absent puts is safe with one writer only.
 *
 * @module
 */

import { Places } from "../core/limits.ts";
import { firstVersionOf, percentEncoded } from "../core/names.ts";
import type { ObjectInfo, ObjectMetadata, StorageBackend } from "../storage/backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { objectShown } from "./evict.ts";
import { openTemporary } from "./bring_back.ts";
import { ContentOfFile } from "./fetch_content.ts";
import { isStillNamed, type NamedObject, namedObjects } from "./named_objects.ts";
import { NoSpaceError, type OnWritten, type SpaceLedger } from "./space.ts";

/** Objects under way: each takes its size on the depot's disk until it is copied. */
const CONCURRENCY = 8;

export interface Migration {
  /** A file, else a directory, else ("") everything, with deleted files and replaced versions. */
  readonly selection: string;
  /** Only looks. */
  readonly dryRun: boolean;
  readonly onProgress: (doneObjects: number) => void;
  readonly signal: AbortSignal;
}

/**
 * present: the primary has it. copied: it has it now (dry run: it would). missing: neither
 * store has it. differing: the primary has other bytes under its key. archived: the
 * secondary must thaw it first. failed: damaged in the secondary, or no room for it here.
 * borrowed: another instance's, which stays in its own prefix.
 */
export type MigrationOutcome =
  | "present"
  | "copied"
  | "missing"
  | "differing"
  | "archived"
  | "failed"
  | "borrowed";

export interface MigrationReport {
  readonly objects: Record<MigrationOutcome, number>;
  copiedBytes: number;
}

/** Faults that say nothing of the one object: the next one would meet them too. */
const ENDS_THE_RUN: Readonly<Record<StorageFault, boolean>> = {
  "not-found": false,
  "precondition": false,
  "corrupt": false,
  "archived": false,
  "denied": true,
  "full": true,
  "throttled": true,
  "unavailable": true,
  "invalid": true,
};

/** @throws {StorageError} If a store does not answer, or takes nothing. */
export async function migrateSelected(
  context: EngineContext,
  space: SpaceLedger,
  migration: Migration,
): Promise<MigrationReport> {
  const { secondary } = context;
  if (secondary === null) throw new Error("the configuration has no secondary store");
  const stop = new AbortController();
  const signal = AbortSignal.any([migration.signal, stop.signal]);
  const run = { context, space, secondary, signal, dryRun: migration.dryRun };
  const report: MigrationReport = {
    objects: {
      ...{ present: 0, copied: 0, missing: 0, differing: 0, archived: 0, failed: 0 },
      borrowed: 0,
    },
    copiedBytes: 0,
  };
  const places = new Places(CONCURRENCY);
  let doneObjects = 0;
  for (const batch of namedObjects(context.manifest, migration.selection)) {
    await allOrStopped(
      batch.map((named) =>
        places.run(async () => {
          signal.throwIfAborted();
          const outcome = named.borrowed ? "borrowed" : await migrateObject(run, named);
          if (outcome === null) return;
          report.objects[outcome] += 1;
          if (outcome === "copied") report.copiedBytes += named.stored.sizeBytes;
        })
      ),
      stop,
    );
    migration.onProgress(doneObjects += batch.length);
    await context.clock.sleep(0, signal);
  }
  return report;
}

/** Waits for all, also after one failed, which ends the others. */
async function allOrStopped(
  works: readonly Promise<void>[],
  stop: AbortController,
): Promise<void> {
  let failure: { readonly error: unknown } | null = null;
  await Promise.all(works.map((work) =>
    work.catch((error) => {
      failure ??= { error };
      stop.abort(error);
    })
  ));
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
}

interface Run {
  readonly context: EngineContext;
  readonly space: SpaceLedger;
  readonly secondary: StorageBackend;
  readonly signal: AbortSignal;
  readonly dryRun: boolean;
}

/** Null: there is nothing to copy. */
async function migrateObject(
  run: Run,
  named: NamedObject,
): Promise<MigrationOutcome | null> {
  const { context } = run;
  let outcome: MigrationOutcome | null;
  let why = "";
  try {
    // An upload and the sweeper work on a path's keys under the same lock.
    const lock = `key:${firstVersionOf(named.stored.key)}`;
    outcome = await context.locks.run(lock, async () => {
      if (!isDoubtful(context, named)) return await migrateLocked(run, named);
      why = "its removal from the primary may still be under way; run again in an hour";
      return "failed";
    });
  } catch (error) {
    const isOfObject = error instanceof NoSpaceError ||
      (error instanceof StorageError && !ENDS_THE_RUN[error.fault]);
    if (!isOfObject) throw error;
    why = error.message;
    outcome = error instanceof StorageError && error.fault === "archived"
      ? "archived"
      : "failed";
  }
  if (outcome !== null && !isInPrimary(outcome)) record(run, named, outcome, why);
  return outcome;
}

/** What is, or would be, under the key may go at any moment. */
function isDoubtful(
  { doubtfulKeys, clock }: EngineContext,
  { stored }: NamedObject,
): boolean {
  return doubtfulKeys.has(stored.key, clock.monotonicMs());
}

async function migrateLocked(
  run: Run,
  named: NamedObject,
): Promise<MigrationOutcome | null> {
  const { context: { manifest }, dryRun } = run;
  // Replaced or deleted since it was listed: the new tombstone's turn comes. Or its grace is over.
  if (!isStillNamed(manifest, named)) return null;
  const outcome = await copyIfMissing(run, named);
  // Within the lock: the sweeper has not removed it since.
  if (isInPrimary(outcome) && !dryRun) await manifest.inPrimary(named.stored);
  return outcome;
}

function isInPrimary(outcome: MigrationOutcome | null): boolean {
  return outcome === "present" || outcome === "copied";
}

const WHY: Readonly<Record<MigrationOutcome, string>> = {
  present: "",
  copied: "",
  missing: "neither store has the object",
  differing: "the primary store has other bytes under its key",
  archived: "the object is archived in the secondary store",
  failed: "it could not be copied",
  borrowed: "",
};

function record(
  { context, dryRun }: Run,
  { path, stored }: NamedObject,
  outcome: MigrationOutcome,
  why: string,
): void {
  const error = why === "" ? WHY[outcome] : why;
  context.log.error(`not migrated: ${error}`, { ...shown(path), key: stored.key });
  if (dryRun) return;
  context.failedOps.append({ op: "migrate", ...shown(path), key: stored.key, error });
}

async function copyIfMissing(
  run: Run,
  named: NamedObject,
): Promise<MigrationOutcome | null> {
  const { context, secondary, signal } = run;
  const { stored } = named;
  const there = await context.primary.head(stored.key, signal);
  if (there !== null && await isWhole(run, named, there)) return "present";
  if (there !== null && !isUncertain(named)) return "differing";
  const source = await secondary.head(stored.key, signal);
  if (isUncertain(named) && source?.sizeBytes !== stored.sizeBytes) return null;
  if (there !== null) return "differing";
  if (source === null) return isGraceOver(run, named) ? null : "missing";
  if (source.archive === "archived" || source.archive === "retrieving") return "archived";
  if (run.dryRun) return "copied";
  return await run.space.reserve(
    stored.sizeBytes,
    (onWritten) => copy(run, { named, source, onWritten }),
  );
}

/** A tombstone of an upload that may never have ended, or have been of other bytes. */
function isUncertain({ stored, tombstone }: NamedObject): boolean {
  return tombstone !== null && stored.hash === null;
}

/** Of a deleted file, by a clock that may be wrong: what stores still have is copied all the same. */
function isGraceOver({ context }: Run, { tombstone }: NamedObject): boolean {
  if (tombstone === null) return false;
  const graceMs = context.settings().deleteGraceSecs * 1000;
  return tombstone.atMs + graceMs <= context.clock.nowMs();
}

/** Whether the primary's object is what the row says; read whole if it does not tell. */
async function isWhole(
  { context }: Run,
  { stored }: NamedObject,
  info: ObjectInfo,
): Promise<boolean> {
  if (info.sizeBytes !== stored.sizeBytes) return false;
  if (stored.hash === null) return true;
  const hash = info.metadata?.hash ?? null;
  if (hash !== null) return hash === stored.hash;
  return await objectShown(context, context.primary, stored);
}

interface Copy {
  readonly named: NamedObject;
  readonly source: ObjectInfo;
  readonly onWritten: OnWritten;
}

async function copy(
  run: Run,
  { named, source, onWritten }: Copy,
): Promise<MigrationOutcome> {
  const { context, secondary, signal } = run;
  const { stored } = named;
  const { posix, primary } = context;
  const refusal = context.refuseUpload();
  if (refusal !== null) throw new Error(refusal);
  const { temporary, fd } = await openTemporary(context);
  try {
    // Without a name: nothing is left of it, whatever ends this process.
    posix.unlink(temporary);
    const target = new ContentOfFile(posix, fd, onWritten);
    const { hash } = await secondary.download({
      key: stored.key,
      sizeBytes: stored.sizeBytes,
      target,
      signal,
    });
    expectHash(named, source, hash);
    await primary.upload({
      key: stored.key,
      source: {
        sizeBytes: stored.sizeBytes,
        read: (buffer, offset) => target.read(buffer, offset),
      },
      metadata: metadataOf(named, source, hash),
      signal,
    }).catch((error) => {
      // Somebody put it there since the look; what is there decides.
      if (!(error instanceof StorageError) || error.fault !== "precondition") throw error;
    });
    const there = await primary.head(stored.key, signal);
    return there !== null && await isWhole(run, named, there) ? "copied" : "differing";
  } finally {
    posix.close(fd);
  }
}

/** Rows of older systems have no hash; then the object's own record of it counts. */
function expectHash({ stored }: NamedObject, source: ObjectInfo, hash: string): void {
  const wanted = stored.hash ?? source.metadata?.hash ?? hash;
  if (hash === wanted) return;
  throw new StorageError("corrupt", {
    operation: "download",
    key: stored.key,
    detail: `its bytes hash to ${hash}, ${wanted} is recorded`,
  });
}

function metadataOf(
  { path, stored, local }: NamedObject,
  { metadata }: ObjectInfo,
  hash: string,
): ObjectMetadata {
  return {
    hash,
    mtimeNs: metadata?.mtimeNs ?? stored.mtimeNs,
    mode: metadata?.mode ?? local.mode,
    uid: metadata?.uid ?? local.uid,
    gid: metadata?.gid ?? local.gid,
    path: metadata?.path ?? percentEncoded(path),
    ...metadata?.generation !== undefined && { generation: metadata.generation },
  };
}
