/**
 * Waiting for what has no signal of its own.
 *
 * @module
 */

/** What `work` comes to, which goes on by itself. @throws The signal's reason, as soon as it aborts. */
export async function unlessAborted<T>(
  signal: AbortSignal,
  work: Promise<T>,
): Promise<T> {
  const given = Promise.withResolvers<never>();
  const giveUp = (): void => given.reject(signal.reason);
  signal.addEventListener("abort", giveUp, { once: true });
  if (signal.aborted) giveUp();
  try {
    return await Promise.race([given.promise, work]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}
