/**
 * No stray error ends the daemon silently.
 *
 * The rule: an InvariantError is a bug of ours, and going on could lose data, so it ends
 * the process with status 70 after a log line. Anything else that reaches the top is an
 * error of a dependency that nobody awaited: the operation that it belonged to ends by its
 * own timeout and is retried, so it is logged with its stack and counted, and the daemon
 * goes on.
 *
 * @module
 */

import { InvariantError } from "../core/assert.ts";
import type { Logger } from "../obs/logger.ts";
import type { Metrics } from "../obs/metrics.ts";

/** Guards until the returned function is called. `onBug` ends the process. */
export function guardErrors(
  log: Logger,
  metrics: Metrics,
  onBug: (error: InvariantError) => void,
): () => void {
  const take = (error: unknown): void => {
    if (error instanceof InvariantError) {
      log.error(`a bug in p4-cache: ${error.message}`, { stack: error.stack ?? "" });
      onBug(error);
      return;
    }
    metrics.count("p4cache_unhandled_errors_total");
    const shown = error instanceof Error ? error : new Error(String(error));
    log.error(`an error that nobody awaited: ${shown.message}`, {
      stack: shown.stack ?? "",
    });
  };
  const onRejection = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    take(event.reason);
  };
  const onError = (event: ErrorEvent): void => {
    event.preventDefault();
    take(event.error);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return () => {
    globalThis.removeEventListener("unhandledrejection", onRejection);
    globalThis.removeEventListener("error", onError);
  };
}
