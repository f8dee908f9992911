/**
 * Bounds the wait for an access token that a vendor's library fetches: it has neither our
 * timeout nor our caller's signal, and an endpoint that accepts and never answers would hold
 * every request of the store until a restart.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";
import { Ending } from "./ending.ts";
import { TransportError } from "./transport.ts";
import { StalledError, Watchdog } from "./watchdog.ts";

export interface TokenWait {
  readonly clock: Clock;
  readonly stallMs: number;
}

/**
 * What `ask` gives. What it began goes on unheard after an error of ours.
 *
 * @throws {TransportError} `stalled`, after `stallMs`; or the signal's reason.
 */
export async function withinStall<T>(
  { clock, stallMs }: TokenWait,
  signal: AbortSignal | undefined,
  ask: () => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const ending = new Ending(new Watchdog(clock, stallMs), signal);
  try {
    return await ending.orElse(ask);
  } catch (error) {
    if (!(error instanceof StalledError)) throw error;
    const what = `no access token for ${Math.round(stallMs / 1_000)} s`;
    throw new TransportError("stalled", what, error);
  } finally {
    ending.release();
  }
}

/** What `wait` gives, or the signal's reason if that comes first. */
export function orAborted<T>(
  signal: AbortSignal | undefined,
  wait: Promise<T>,
): Promise<T> {
  if (signal === undefined) return wait;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    wait.then(resolve, reject).finally(() =>
      signal.removeEventListener("abort", onAbort)
    );
  });
}
