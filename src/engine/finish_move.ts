/**
 * Directories whose rename, or exchange, a stop or a death cut short.
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import { type EngineContext, firstKey } from "./engine_context.ts";

/**
 * Finishes it, if there is one. Before anything serves, looks or scans: the rows that are still under
 * the name of before are of files that lie under the other one, whose markers no row would know.
 *
 * Rows whose paths would be too long stay, and are left to the next scan.
 *
 * @throws The signal's reason, between two steps: the next start goes on.
 */
export async function finishMove(
  { manifest, log }: Pick<EngineContext, "manifest" | "log">,
  signal?: AbortSignal,
): Promise<void> {
  const finished = await manifest.finishMove({ firstKey }, signal);
  if (finished === null) return;
  const { from, to, movedCount, left } = finished;
  log.info("finished the rename of a directory that was cut short", {
    from: displayPath(from),
    to: displayPath(to),
    files: movedCount,
    tooLong: left.length,
  });
}
