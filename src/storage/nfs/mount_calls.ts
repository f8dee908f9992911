/**
 * Calls to a file system that may hang.
 *
 * A hard NFS mount whose server is gone holds every call in the kernel, unkillable, for as
 * long as it takes. Calls run in Deno's pool of blocking threads, which local work needs
 * too. So: at most `callsMax` calls are in the kernel, a call that hangs keeps its place
 * until the kernel lets it go, and the caller waits no longer than `stallMs` for a place or
 * an answer. Nothing here calls the file system on the main thread.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";

/** A reason of our own: the default one is an error, with a stack, for each call. */
const OVER = Symbol("over");

/** A call that did not come back in time, or that found no place. */
export class StallError extends Error {
  override readonly name = "StallError";
}

export interface MountCallsOptions {
  readonly callsMax: number;
  readonly stallMs: number;
  readonly clock: Clock;
}

export class MountCalls {
  readonly #options: MountCallsOptions;
  readonly #waiting: (() => void)[] = [];
  #inKernel = 0;

  constructor(options: MountCallsOptions) {
    this.#options = options;
  }

  /** How many calls the kernel has not answered, or is just being asked. */
  get inKernel(): number {
    return this.#inKernel;
  }

  /**
   * Makes one call.
   *
   * @param onLate Given the result of a call that was given up, to close what it opened.
   * @throws {StallError} After `stallMs`; the signal's reason as soon as it aborts.
   */
  async run<T>(
    call: () => Promise<T>,
    signal?: AbortSignal,
    onLate?: (late: T) => void,
  ): Promise<T> {
    signal?.throwIfAborted();
    const { callsMax, stallMs, clock } = this.#options;
    const wait = new AbortController();
    const stop = signal === undefined
      ? wait.signal
      : AbortSignal.any([wait.signal, signal]);
    const stalled = clock.sleep(stallMs, stop);
    // It loses most races; that must not count as unheard.
    stalled.catch(() => {});
    try {
      if (this.#inKernel < callsMax) this.#inKernel += 1;
      else await this.#place(stalled);
      return await this.#call(call, stalled, onLate);
    } finally {
      wait.abort(OVER);
    }
  }

  /** A place goes from hand to hand: whoever comes in between must not find it free. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#inKernel -= 1;
    else next();
  }

  async #place(stalled: Promise<void>): Promise<void> {
    let mine = (): void => {};
    const granted = new Promise<"granted">((resolve) => {
      mine = (): void => resolve("granted");
    });
    this.#waiting.push(mine);
    const forget = (): void => {
      const index = this.#waiting.indexOf(mine);
      if (index >= 0) this.#waiting.splice(index, 1);
      // Granted in the same moment: hand the place on.
      else this.#leave();
    };
    try {
      if ((await Promise.race([granted, stalled])) === "granted") return;
    } catch (error) {
      forget();
      throw error;
    }
    forget();
    throw new StallError(
      `${this.#inKernel} calls to the mount have not come back, and none for ` +
        `${this.#options.stallMs / 1_000} s`,
    );
  }

  async #call<T>(
    call: () => Promise<T>,
    stalled: Promise<void>,
    onLate: ((late: T) => void) | undefined,
  ): Promise<T> {
    const done = call().finally(() => this.#leave());
    try {
      const first = await Promise.race([
        done.then((value) => ({ value })),
        stalled.then(() => null),
      ]);
      if (first !== null) return first.value;
    } catch (error) {
      done.then(onLate, () => {});
      throw error;
    }
    done.then(onLate, () => {});
    throw new StallError(
      `a call to the mount has not come back for ${this.#options.stallMs / 1_000} s`,
    );
  }
}
