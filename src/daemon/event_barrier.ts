/**
 * Whether everything that was done in the depot until now has been told: a file of our own is
 * written, and the kernel's queue keeps the order. When its event is there, so are all before it.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import type { Logger } from "../obs/logger.ts";
import { messageOf } from "./state_directory.ts";

const OWN = ".p4cache/";
/** Without any event for so long nobody tells. */
const SILENCE_MS_MAX = 10_000;

export interface EventBarrierDeps {
  /** `<depot>/.p4cache`. */
  readonly statePath: string;
  /** Resolves when all that was told is taken in. */
  readonly settled: () => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly newId: () => string;
  readonly signal: AbortSignal;
}

export class EventBarrier {
  readonly #deps: EventBarrierDeps;
  /** Files of our own whose event somebody waits for. */
  readonly #canaries = new Map<string, () => void>();
  /** It could not be written when it was last tried, which was told. */
  #isCanaryRefused = false;
  /** Its event did not come, which was told. */
  #isSilent = false;
  #barrier: Promise<boolean> | null = null;
  #nextBarrier: Promise<boolean> | null = null;
  #lastEventMs = 0;

  constructor(deps: EventBarrierDeps) {
    this.#deps = deps;
  }

  /** Of any event, by the clock's monotonic time; 0: none yet. */
  get lastEventMs(): number {
    return this.#lastEventMs;
  }

  /** An event has come, whichever. */
  eventCame(): void {
    this.#lastEventMs = this.#deps.clock.monotonicMs();
  }

  /** Whether the event is of a file that somebody waits for; tells him. */
  tellWaiting(path: string): boolean {
    const isSeen = path.startsWith(OWN)
      ? this.#canaries.get(path.slice(OWN.length))
      : null;
    isSeen?.();
    return isSeen !== null && isSeen !== undefined;
  }

  /** Another watcher reports now: what was written for the one before was for nobody. */
  async writeAnew(): Promise<void> {
    for (const name of this.#canaries.keys()) await this.#writeCanary(name);
  }

  /**
   * Resolves when every event of before the call was taken in; with false at a stop, or if none
   * arrive just now: not as long as others do, however many are before it. Callers share: one that comes
   * while another's canary is out waits for the next.
   */
  passed(): Promise<boolean> {
    if (this.#barrier === null) {
      this.#barrier = this.#pass().finally(() => {
        this.#barrier = null;
        this.#nextBarrier = null;
      });
      return this.#barrier;
    }
    this.#nextBarrier ??= this.#barrier.then(() => this.passed());
    return this.#nextBarrier;
  }

  async #pass(): Promise<boolean> {
    const { signal, log, settled } = this.#deps;
    try {
      // The kernel's queue keeps the order: what was done before is told before.
      const isSeen = await this.seesCanary(signal);
      this.#isCanaryRefused = false;
      if (!isSeen && !this.#isSilent && !signal.aborted) {
        log.warn(
          `no event has come for ${
            SILENCE_MS_MAX / 1_000
          } s, not even of a file of our own`,
        );
      }
      this.#isSilent = !isSeen;
      if (!isSeen) return false;
    } catch (error) {
      // As on a full disk. Whoever asks does without, and asks again.
      if (!this.#isCanaryRefused) {
        log.error(`cannot tell whether every event came: ${messageOf(error)}`);
      }
      this.#isCanaryRefused = true;
      return false;
    }
    // A stop waits for what was told for a while, and not for who waits for it here.
    return await unlessAborted(signal, settled().then(() => true)).catch(() => false);
  }

  /** Writes a file of our own and waits for its event, which is the last so far. Throws if it cannot. */
  async seesCanary(signal: AbortSignal): Promise<boolean> {
    const { statePath, newId } = this.#deps;
    const name = `canary-${newId()}`;
    const seen = Promise.withResolvers<boolean>();
    this.#canaries.set(name, () => seen.resolve(true));
    const ended = new AbortController();
    const silent = this.#silence(AbortSignal.any([ended.signal, signal]));
    try {
      await this.#writeCanary(name);
      return await Promise.race([seen.promise, silent]);
    } finally {
      ended.abort();
      this.#canaries.delete(name);
      // What kept it from being written is what is to be known.
      await Deno.remove(`${statePath}/${name}`).catch(() => {});
    }
  }

  /** Resolves with false when no event comes for a while, or at the end. */
  async #silence(signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#deps;
    const fromMs = clock.monotonicMs();
    for (;;) {
      const silentMs = clock.monotonicMs() - Math.max(fromMs, this.#lastEventMs);
      if (silentMs >= SILENCE_MS_MAX || signal.aborted) return false;
      await clock.sleep(SILENCE_MS_MAX - silentMs, signal).catch(() => {});
    }
  }

  async #writeCanary(name: string): Promise<void> {
    const path = `${this.#deps.statePath}/${name}`;
    // Written for a watcher before, it is there: a new file all the same, and no link's.
    await Deno.remove(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    await Deno.writeTextFile(path, "", { createNew: true });
  }
}
