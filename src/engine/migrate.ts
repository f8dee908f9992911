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
import { type DepotPath, firstVersionOf, percentEncoded } from "../core/names.ts";
import type { LocalStat, StoredVersion, Tombstone } from "../manifest/manifest.ts";
import type { ObjectInfo, ObjectMetadata, StorageBackend } from "../storage/backend.ts";
import { StorageError, type StorageFault } from "../storage/storage_error.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { objectShown } from "./evict.ts";
import { openTemporary } from "./bring_back.ts";
import { ContentOfFile } from "./fetch_content.ts";
import { selectRows } from "./selection.ts";
import { NoSpaceError, type OnWritten, type SpaceLedger } from "./space.ts";

/** Objects under way: each takes its size on the depot's disk until it is copied. */
const CONCURRENCY = 8;

const TOMBSTONE_BATCH = 256;

export interface Migration {
  /** A file, else a directory, else ("") everything, deleted files in their grace too. */
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
 */
export type MigrationOutcome =
  | "present"
  | "copied"
  | "missing"
  | "differing"
  | "archived"
  | "failed";

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

/** One object that the manifest names. */
interface Named {
  readonly path: DepotPath;
  readonly stored: StoredVersion;
  readonly local: LocalStat;
  /** Of a row that says that only the secondary has the object. */
  readonly flaggedGeneration: number | null;
}

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
    objects: { present: 0, copied: 0, missing: 0, differing: 0, archived: 0, failed: 0 },
    copiedBytes: 0,
  };
  const places = new Places(CONCURRENCY);
  let doneObjects = 0;
  for (const batch of namedObjects(context, migration.selection)) {
    await allOrStopped(
      batch.map((named) =>
        places.run(async () => {
          signal.throwIfAborted();
          const outcome = await migrateObject(run, named);
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

/**
 * Of a dirty row the version before: what a lost local file would fall back to. Of everything, what
 * was deleted comes first and last: a file that is undeleted meanwhile is a new row, and one
 * that is deleted a new tombstone.
 */
function* namedObjects(
  context: EngineContext,
  selection: string,
): Generator<readonly Named[]> {
  const seen = { newest: 0 };
  if (selection === "") yield* buriedObjects(context, seen);
  for (const batch of selectRows(context, selection)) {
    yield batch.flatMap(({ path, entry }) => {
      const { stored, local, flags, generation } = entry;
      if (stored === null || flags.borrowed) return [];
      const flaggedGeneration = flags.secondaryOnly ? generation : null;
      return [{ path, stored, local, flaggedGeneration }];
    });
  }
  if (selection === "") yield* buriedObjects(context, seen);
}

/** Those with greater ids than `newest`, which is the greatest then. */
function* buriedObjects(
  { manifest, clock }: EngineContext,
  seen: { newest: number },
): Generator<Named[]> {
  const { newest } = seen;
  const nowMs = clock.nowMs();
  for (let after: Tombstone | undefined = undefined;;) {
    const batch: Tombstone[] = manifest.tombstonesDue(nowMs, TOMBSTONE_BATCH, after);
    if (batch.length === 0) return;
    after = batch.at(-1)!;
    seen.newest = Math.max(seen.newest, ...batch.map(({ id }) => id));
    yield batch.filter(({ id }) => id > newest).map(({ path, stored, local }) => {
      return { path, stored, local, flaggedGeneration: null };
    });
  }
}

interface Run {
  readonly context: EngineContext;
  readonly space: SpaceLedger;
  readonly secondary: StorageBackend;
  readonly signal: AbortSignal;
  readonly dryRun: boolean;
}

async function migrateObject(run: Run, named: Named): Promise<MigrationOutcome> {
  const { context, dryRun } = run;
  const { path, stored } = named;
  let outcome: MigrationOutcome;
  let why = "";
  try {
    // An upload and the sweeper work on a path's keys under the same lock.
    const lock = `key:${firstVersionOf(stored.key)}`;
    outcome = await context.locks.run(lock, () => copyIfMissing(run, named));
  } catch (error) {
    const isOfObject = error instanceof NoSpaceError ||
      (error instanceof StorageError && !ENDS_THE_RUN[error.fault]);
    if (!isOfObject) throw error;
    why = error.message;
    outcome = error instanceof StorageError && error.fault === "archived"
      ? "archived"
      : "failed";
  }
  if (outcome !== "present" && outcome !== "copied") {
    record(run, named, outcome, why);
  } else if (named.flaggedGeneration !== null && !dryRun) {
    // Stale: the row changed meanwhile, and the next run sees what it is then.
    await context.manifest.apply(path, named.flaggedGeneration, {
      kind: "flagged",
      flags: { secondaryOnly: false },
    });
  }
  return outcome;
}

const WHY: Readonly<Record<MigrationOutcome, string>> = {
  present: "",
  copied: "",
  missing: "neither store has the object",
  differing: "the primary store has other bytes under its key",
  archived: "the object is archived in the secondary store",
  failed: "it could not be copied",
};

function record(
  { context, dryRun }: Run,
  { path, stored }: Named,
  outcome: MigrationOutcome,
  why: string,
): void {
  const error = why === "" ? WHY[outcome] : why;
  context.log.error(`not migrated: ${error}`, { ...shown(path), key: stored.key });
  if (dryRun) return;
  context.failedOps.append({ op: "migrate", ...shown(path), key: stored.key, error });
}

async function copyIfMissing(run: Run, named: Named): Promise<MigrationOutcome> {
  const { context, secondary, signal } = run;
  const { stored } = named;
  const there = await context.primary.head(stored.key, signal);
  if (there !== null) {
    return await isWhole(run, named, there) ? "present" : "differing";
  }
  const source = await secondary.head(stored.key, signal);
  if (source === null) return "missing";
  if (source.archive === "archived" || source.archive === "retrieving") return "archived";
  if (run.dryRun) return "copied";
  return await run.space.reserve(
    stored.sizeBytes,
    (onWritten) => copy(run, { named, source, onWritten }),
  );
}

/** Whether the primary's object is what the row says; read whole if it does not tell. */
async function isWhole(
  { context }: Run,
  { stored }: Named,
  info: ObjectInfo,
): Promise<boolean> {
  if (info.sizeBytes !== stored.sizeBytes) return false;
  if (stored.hash === null) return true;
  const hash = info.metadata?.hash ?? null;
  if (hash !== null) return hash === stored.hash;
  return await objectShown(context, context.primary, stored);
}

interface Copy {
  readonly named: Named;
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
function expectHash({ stored }: Named, source: ObjectInfo, hash: string): void {
  const wanted = stored.hash ?? source.metadata?.hash ?? hash;
  if (hash === wanted) return;
  throw new StorageError("corrupt", {
    operation: "download",
    key: stored.key,
    detail: `its bytes hash to ${hash}, ${wanted} is recorded`,
  });
}

function metadataOf(
  { path, stored, local }: Named,
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
