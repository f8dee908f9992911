/**
 * What the disk shows means something only with everything that was done before: an empty name
 * may have been renamed or deleted a moment ago. Where the watcher does not tell, nothing is
 * concluded from it, and nothing is deleted, moved or put back.
 *
 * @module
 */

import { type DepotPath, displayPath } from "../core/names.ts";
import type { EngineContext } from "./engine_context.ts";

/** Nothing was changed. What was to be done is done later, or asked for again. */
export class NotCaughtUpError extends Error {
  override readonly name = "NotCaughtUpError";

  constructor(path: DepotPath) {
    super(
      `Cannot tell what became of "${displayPath(path)}": the watcher has not told ` +
        "everything that was done before, and nothing is changed until it has",
    );
  }
}

/**
 * Resolves when every change of the depot that was made before the call has been taken in.
 *
 * @throws {NotCaughtUpError}
 */
export async function catchUp(context: EngineContext, path: DepotPath): Promise<void> {
  if (!await context.eventsUntilNow()) throw new NotCaughtUpError(path);
}

/** For a look that only brings a row up to date, of a file that is there: the next one does. */
export async function unlessBehind(look: Promise<unknown>): Promise<void> {
  try {
    await look;
  } catch (error) {
    if (!(error instanceof NotCaughtUpError)) throw error;
  }
}
