/**
 * The rows that an operator's command speaks of.
 *
 * @module
 */

import { depotPathOrNull } from "../core/names.ts";
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
  for (let after: PathAndEntry | null = null;;) {
    // Of everything none is passed over, whatever is renamed meanwhile.
    const batch: PathAndEntry[] = selection === ""
      ? manifest.byArrival(after, BATCH)
      : manifest.entries(`${selection}/`, after?.path ?? null, BATCH);
    if (batch.length === 0) return;
    after = batch.at(-1)!;
    yield batch;
  }
}
