/**
 * Ends the waits of one request, for its answer and for each piece of its body.
 *
 * @module
 */

import type { Watchdog } from "./watchdog.ts";

/**
 * The end of a request before its own: its caller aborts it, or the watchdog does.
 *
 * `fetch` alone cannot be relied on for that. Between our signal and a body that is read it
 * has signals of its own, which nobody holds: once they are collected, an abort does not
 * reach the body, and the read never ends. So each wait ends here, and the signal is only
 * what lets `fetch` free its connection.
 */
export class Ending {
  readonly #watchdog: Watchdog;
  readonly #callers: AbortSignal | undefined;
  readonly #stop = new AbortController();
  #reject: ((reason: unknown) => void) | null = null;

  constructor(watchdog: Watchdog, callers: AbortSignal | undefined) {
    this.#watchdog = watchdog;
    this.#callers = callers;
    for (const signal of [callers, watchdog.signal]) {
      signal?.addEventListener("abort", this.#onAbort);
    }
  }

  /** For `fetch`, and for whoever has something to free at the end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get callers(): AbortSignal | undefined {
    return this.#callers;
  }

  /** What `wait` gives, or the reason of the end if that comes first. One at a time. */
  orElse<T>(wait: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.signal.aborted) return reject(this.signal.reason);
      this.#reject = reject;
      wait().then(resolve, reject).finally(() => this.#reject = null);
    });
  }

  /** Nothing is waited for any more. */
  release(): void {
    this.#watchdog.end();
    for (const signal of [this.#callers, this.#watchdog.signal]) {
      signal?.removeEventListener("abort", this.#onAbort);
    }
  }

  readonly #onAbort = (event: Event): void => {
    const { reason } = event.target as AbortSignal;
    // First, so that a wait that the abort itself ends does not seem to have ended well.
    this.#reject?.(reason);
    this.#stop.abort(reason);
  };
}
