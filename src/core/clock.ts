/**
 * Time, passed in rather than reached for, so that every test of a timeout runs in
 * microseconds and gives the same result twice.
 *
 * @module
 */

/** Source of time. Production code receives one; it never calls `Date.now()`. */
export interface Clock {
  /** Wall time, in milliseconds since the Unix epoch. May step backwards. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start. Never steps backwards. */
  monotonicMs(): number;
  /**
   * Resolves after at least `delayMs`.
   *
   * @throws The signal's reason, as soon as `signal` aborts.
   */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's clock. */
export const SYSTEM_CLOCK: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      }, delayMs);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  },
};
