/**
 * Takes an object that only the store knows into the manifest, evicted: prestaged stores,
 * a `read_only` daemon over somebody else's upload, a lost manifest row.
 *
 * @module
 */

import { type DepotPath, firstVersionOf, type ObjectKey } from "../core/names.ts";
import type { FileEntry, ManifestEvent } from "../manifest/manifest.ts";
import { isOfLaterVersion } from "../manifest/rebuild_choice.ts";
import type { ObjectInfo, StorageBackend } from "../storage/backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { lookUpBorrowed } from "./borrowed.ts";
import { type EngineContext, firstKey, nowSeconds, shown } from "./engine_context.ts";
import { lookAt } from "./local_file.ts";

/** Owner-read-only, as `p4d` leaves an archive, where the object does not say. */
const DEFAULT_MODE = 0o444;

/**
 * The new row of `path`, or null if no store has a first version of it, if the lookup is
 * switched off, or if the file was deleted: a delete outlives what stores still hold. The
 * primary is asked first, then the secondary, then the prefixes of other instances.
 *
 * Nothing is kept of an absence: what somebody stages is found from then on.
 *
 * @throws {StorageError} `corrupt` if the primary or the secondary has later versions, or the
 * path a marker of one.
 */
export async function adoptFromStore(
  context: EngineContext,
  path: DepotPath,
): Promise<FileEntry | null> {
  if (!context.settings().storeLookupOnMiss) return null;
  const key = firstKey(path);
  // The sweeper removes objects under the same lock.
  return await context.locks.run(`key:${key}`, () => adoptLocked(context, path, key));
}

async function adoptLocked(
  context: EngineContext,
  path: DepotPath,
  key: ObjectKey,
): Promise<FileEntry | null> {
  const { manifest } = context;
  // Before anything is asked: what was deleted here is not there, whatever stores hold.
  if (manifest.tombstonesOf(path).length > 0) return null;
  // The content of a file that was renamed keeps its key: it is another file's now, or was it.
  if (manifest.hasVersionOf(key)) return null;
  const found = await findObject(context, path, key);
  if (found === null) return null;
  refuseBelowLaterMarker(context, path, found);
  // What will be uploaded over it is newer, whoever numbered this one.
  await manifest.raiseGenerations(found.info.metadata?.generation ?? 0);
  const { outcome, entry } = await manifest.apply(
    path,
    "absent",
    adoption(context, found),
  );
  if (outcome === "applied") {
    context.log.info("adopted from the store", { ...shown(path), from: found.from });
  }
  return entry;
}

/** A marker says that a later version was in a store: one that is not configured, or lost it. */
function refuseBelowLaterMarker(
  context: EngineContext,
  path: DepotPath,
  { info, from }: Found,
): void {
  const { sizeBytes, metadata } = info;
  const mtimeNs = metadata?.mtimeNs ?? null;
  const look = lookAt(context, path);
  if (from === "read prefix" || mtimeNs === null || look.kind !== "marker") return;
  if (!isOfLaterVersion(look.stat, { sizeBytes, mtimeNs })) return;
  throw new StorageError("corrupt", {
    operation: "head",
    key: info.key,
    detail:
      `its marker stands for a later version than the ${from} store has; bring the ` +
      "store back that has it, and run p4-cache rebuild-manifest",
  });
}

interface Found {
  readonly info: ObjectInfo;
  readonly from: "primary" | "secondary" | "read prefix";
}

async function findObject(
  context: EngineContext,
  path: DepotPath,
  key: ObjectKey,
): Promise<Found | null> {
  const { primary, secondary, signal } = context;
  for (const [from, store] of [["primary", primary], ["secondary", secondary]] as const) {
    if (store === null) continue;
    const asked = { from, store, key, signal };
    const isOurs = from === "primary" && !context.settings().readOnly;
    const info = isOurs ? await askAtOnce(asked) : await askInTurn(asked);
    if (info !== null) return { info, from };
  }
  const borrowed = await lookUpBorrowed(context, path);
  return borrowed === null ? null : { info: borrowed.info, from: "read prefix" };
}

interface Asked {
  readonly from: Found["from"];
  readonly store: StorageBackend;
  readonly key: ObjectKey;
  readonly signal: AbortSignal;
}

/**
 * The first version, of a store that only we remove objects from, and not while this runs. Both
 * answers are wanted whatever the other is: a first version may be gone, as it is a grace after
 * the file was rewritten. The file is there all the same, and a store that is asked later has
 * less of it.
 *
 * @throws {StorageError} As {@linkcode refuseLaterVersions}.
 */
async function askAtOnce(asked: Asked): Promise<ObjectInfo | null> {
  const { store, key, signal } = asked;
  const [info] = await Promise.all([
    store.head(key, signal),
    refuseLaterVersions(asked),
  ]);
  return info;
}

/**
 * The same, of a store that another instance may write: where its file is rewritten between the
 * two, and its grace is short, a LIST of before and a HEAD of after would see neither version.
 */
async function askInTurn(asked: Asked): Promise<ObjectInfo | null> {
  const info = await asked.store.head(asked.key, asked.signal);
  await refuseLaterVersions(asked);
  return info;
}

function adoption(context: EngineContext, { info, from }: Found): ManifestEvent {
  const nowS = nowSeconds(context);
  const { key, sizeBytes, versionId, metadata } = info;
  const mtimeNs = mtimeNsOf(info, nowS);
  return {
    kind: "adopted",
    stored: { key, hash: metadata?.hash ?? null, sizeBytes, mtimeNs, versionId },
    stat: {
      sizeBytes,
      mtimeNs,
      ctimeNs: 0n,
      mode: metadata?.mode ?? DEFAULT_MODE,
      uid: metadata?.uid ?? Deno.uid() ?? 0,
      gid: metadata?.gid ?? Deno.gid() ?? 0,
      ino: 0n,
      dev: context.device,
    },
    resident: false,
    flags: { secondaryOnly: from === "secondary", borrowed: from === "read prefix" },
    nowS,
  };
}

/**
 * The first version is not the newest where later ones stand, and which of them is the newest
 * only the manifest knows: serving an older revision as the file, or telling that there is no
 * file, would let `p4d` write history anew on top of it.
 *
 * @throws {StorageError} `corrupt`, naming the command that helps.
 */
async function refuseLaterVersions(
  { from, store, key, signal }: Asked,
): Promise<void> {
  for await (const version of store.list(`${key}.p4cv-`, signal)) {
    if (firstVersionOf(version.key) !== key) continue;
    throw new StorageError("corrupt", {
      operation: "head",
      key,
      detail:
        `the ${from} store has later versions and the manifest has no row that says which ` +
        "is current; run p4-cache rebuild-manifest",
    });
  }
}

function mtimeNsOf(info: ObjectInfo, nowS: number): bigint {
  return info.metadata?.mtimeNs ??
    BigInt(Math.floor(info.storedAtMs ?? nowS * 1000)) * 1_000_000n;
}
