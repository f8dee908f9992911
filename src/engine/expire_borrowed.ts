/**
 * Lets resident borrowed archives go after a while, so that the next open asks their owner.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import type { FileEntry } from "../manifest/manifest.ts";
import { isEvictable } from "../manifest/transitions.ts";
import {
  type EngineContext,
  isManagedHere,
  isUnchanged,
  nowSeconds,
} from "./engine_context.ts";
import { isOwnedElsewhere, putMarkerInPlace } from "./evict.ts";
import { agedAtS } from "./evict_plan.ts";
import { lookAt } from "./local_file.ts";
import { MET, observe } from "./observe.ts";

/** Rows looked at between two turns for others. */
const BATCH = 256;

/** Takes those that are older than `borrowed_ttl_secs`. Returns how many went. */
export async function expireBorrowed(context: EngineContext): Promise<number> {
  const { manifest, settings, signal, clock } = context;
  const { borrowedTtlSecs } = settings();
  if (borrowedTtlSecs === 0 || context.readStores.length === 0) return 0;
  let expired = 0;
  for (let after: DepotPath | null = null;;) {
    const batch = manifest.entries("", after, BATCH);
    if (batch.length === 0) return expired;
    after = batch.at(-1)!.path;
    for (const { path, entry } of batch) {
      signal.throwIfAborted();
      if (!mayExpire(path, entry)) continue;
      const nowS = nowSeconds(context);
      if (agedAtS(entry, borrowedTtlSecs, nowS) > nowS) continue;
      if (await expire(context, path)) expired += 1;
    }
    await clock.sleep(0, signal);
  }
}

/** Only RCS archives change: a file of a `,d` directory is written once. */
function mayExpire(path: DepotPath, entry: FileEntry): boolean {
  return entry.flags.borrowed && path.endsWith(",v") && isEvictable(entry);
}

/** Not while its owner shows neither this version nor a newer one: the local copy may be the last. */
function expire(context: EngineContext, path: DepotPath): Promise<boolean> {
  return context.locks.run(path, async () => {
    const entry = context.manifest.get(path);
    if (entry === null || !mayExpire(path, entry)) return false;
    if (!isManagedHere(context, path)) return false;
    const look = lookAt(context, path);
    if (look.kind !== "file") return false;
    if (!isUnchanged(look.stat, entry.local)) {
      await observe(context, path, MET);
      return false;
    }
    if (!await isOwnedElsewhere(context, path, entry.stored!)) return false;
    return await putMarkerInPlace(context, path, entry) === "evicted";
  });
}
