/**
 * Brings a deleted file back, evicted, while its object is kept.
 *
 * @module
 */

import { type DepotPath, firstVersionOf } from "../core/names.ts";
import type { Tombstone } from "../manifest/manifest.ts";
import type { StorageBackend } from "../storage/backend.ts";
import { storeOfBorrowed } from "./borrowed.ts";
import { type EngineContext, isManagedHere, nowSeconds } from "./engine_context.ts";
import { objectShown } from "./evict.ts";
import { lookAt } from "./local_file.ts";
import { putMissingMarker } from "./observe.ts";
import { DONE, NOT_MANAGED, refused, type Verdict } from "./verdict.ts";

/** Changes nothing unless the store shows the object of the newest deleted version. */
export function undeleteFile(
  context: EngineContext,
  path: DepotPath,
  dryRun: boolean,
): Promise<Verdict> {
  return context.locks.run(path, async () => {
    if (context.manifest.get(path) !== null) return refused("it is not deleted");
    if (!isManagedHere(context, path)) return refused(NOT_MANAGED);
    const look = lookAt(context, path);
    if (look.kind !== "absent" && look.kind !== "marker") {
      return refused("something new has its name: move that away first");
    }
    const newest = newestDeleted(context, path);
    if (newest === null) {
      return refused("nothing is kept of it: it never was here, or its grace is over");
    }
    // The sweeper removes objects under the same lock: what is found here stays.
    const lock = `key:${firstVersionOf(newest.stored.key)}`;
    return await context.locks.run(lock, () => bringBack(context, path, newest, dryRun));
  });
}

function newestDeleted({ manifest }: EngineContext, path: DepotPath): Tombstone | null {
  return manifest.tombstonesOf(path)
    .findLast(({ reason, removed }) => reason === "deleted" && !removed) ?? null;
}

async function bringBack(
  context: EngineContext,
  path: DepotPath,
  newest: Tombstone,
  dryRun: boolean,
): Promise<Verdict> {
  if (newestDeleted(context, path)?.id !== newest.id) {
    return refused("its grace is over just now");
  }
  const store = await storeThatShows(context, newest);
  if (store === null) return refused("the store does not have its object any more");
  // Also where the secondary shows it: nothing may bring it back to the primary under its key.
  const doubtMs = newest.borrowed ? 0 : doubtMsOf(context, newest);
  if (doubtMs > 0) {
    return refused(
      "the store left a request to remove its object unanswered, and may still carry it out: " +
        `try again in ${Math.ceil(doubtMs / 60_000)} min`,
    );
  }
  if (dryRun) return DONE;
  if (store === context.primary) await context.manifest.inPrimary(newest.stored);
  const secondaryOnly = store === context.secondary;
  const entry = await context.manifest.undelete(path, nowSeconds(context), secondaryOnly);
  if (entry === null) return refused("it was written again just now");
  if (lookAt(context, path).kind === "absent") putMissingMarker(context, path, entry);
  return DONE;
}

/** Whatever the tombstone says of the secondary: it may have been brought from there since. */
async function storeThatShows(
  context: EngineContext,
  { stored, borrowed, secondaryOnly }: Tombstone,
): Promise<StorageBackend | null> {
  const { primary, secondary } = context;
  const stores = [
    borrowed ? await storeOfBorrowed(context, stored) : primary,
    borrowed && !secondaryOnly ? null : secondary,
  ];
  for (const store of stores) {
    if (store !== null && await objectShown(context, store, stored)) return store;
  }
  return null;
}

function doubtMsOf(
  { doubtfulKeys, clock }: EngineContext,
  { stored: { key } }: Tombstone,
): number {
  return doubtfulKeys.remainingMs(key, clock.monotonicMs());
}
