/**
 * What a start waits for, said while it does: a store or a disk that does not answer looks like a
 * daemon that hangs.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Logger } from "../obs/logger.ts";

const TOLD_AFTER_MS = 5_000;

/** What `work` comes to. If that takes long, the log says that it is waited for `what`. */
export async function tellingIfSlow<T>(
  what: string,
  { log, clock }: { readonly log: Logger; readonly clock: Clock },
  work: () => Promise<T>,
): Promise<T> {
  const isOver = new AbortController();
  clock.sleep(TOLD_AFTER_MS, isOver.signal).then(
    () => log.info(`waiting for ${what}`),
    () => {},
  );
  try {
    return await work();
  } finally {
    isOver.abort();
  }
}
