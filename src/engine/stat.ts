/**
 * What a plain stat() would say of a file, resident or not.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { encodeMarkerAtimeNs } from "../core/marker.ts";
import type { LocalStat } from "../manifest/manifest.ts";
import { absolute, type EngineContext } from "./engine_context.ts";
import { lookAt } from "./local_file.ts";
import { MET, observe } from "./observe.ts";

export interface StatAnswer {
  readonly stat: LocalStat;
  readonly resident: boolean;
}

/**
 * Null if there is no such file. Mends what it finds: a marker whose size somebody overwrote
 * is stamped again, a missing one put back.
 */
export async function statFile(
  context: EngineContext,
  path: DepotPath,
): Promise<StatAnswer | null> {
  let look = lookAt(context, path);
  if (look.kind === "absent" && context.manifest.get(path) !== null) {
    await observe(context, path, MET);
    look = lookAt(context, path);
  }
  if (look.kind === "file") return { stat: look.stat, resident: true };
  if (look.kind === "marker") return { stat: look.stat, resident: false };
  const stat = stampAgain(context, path);
  return stat === null ? null : { stat, resident: false };
}

/**
 * Gives a marker whose size somebody overwrote its size back, from the row. Null if there is
 * none: no row of an evicted file, or no socket at its name.
 */
export function stampAgain(context: EngineContext, path: DepotPath): LocalStat | null {
  const entry = context.manifest.get(path);
  if (entry === null || entry.resident || entry.stored === null) return null;
  const { sizeBytes } = entry.stored;
  const stat = context.posix.lstat(absolute(context, path));
  if (stat?.kind !== "socket" || stat.dev !== context.device) return null;
  context.posix.setTimes(absolute(context, path), {
    atimeNs: encodeMarkerAtimeNs(sizeBytes),
    mtimeNs: null,
  });
  return { ...stat, sizeBytes };
}
