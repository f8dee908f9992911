/**
 * The rows that an operator's command speaks of.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type { PathAndEntry } from "../manifest/manifest.ts";
import type { EngineContext } from "./engine_context.ts";

/** Rows read at a time: what one batch of changes shares an fsync with. */
const BATCH = 256;

/**
 * Batches of rows: the file `selection` if there is one of that name, else each file below
 * the directory `selection`, else, if it is empty, each file.
 */
export function* selectRows(
  { manifest }: EngineContext,
  selection: string,
): Generator<readonly PathAndEntry[]> {
  const path = depotPathOrNull(selection);
  const entry = path === null ? null : manifest.get(path);
  if (path !== null && entry !== null) {
    yield [{ path, entry }];
    return;
  }
  const prefix = selection === "" ? "" : `${selection}/`;
  for (let after: DepotPath | null = null;;) {
    const batch = manifest.entries(prefix, after, BATCH);
    if (batch.length === 0) return;
    after = batch.at(-1)!.path;
    yield batch;
  }
}
