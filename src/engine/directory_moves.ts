/**
 * Renames and exchanges of directories that the manifest refuses for a while, as on a full disk.
 *
 * What is told after one is told of the names that it gives: rows that were changed before its end
 * would be other files' than those that lie there. So it waits, and whoever tells waits with it.
 * Meanwhile events queue in memory and then in the kernel, each up to its bound; what does not fit
 * is an overflow, and leads to a scan, as ever.
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import {
  type FinishedMove,
  ManifestError,
  type MovedTree,
} from "../manifest/manifest.ts";
import { type EngineContext, firstKey } from "./engine_context.ts";

const AGAIN_MS = 1_000;

type Names = Pick<FinishedMove, "from" | "to">;

/**
 * The daemon stops while the manifest refuses a move. Nothing that is told after it may be taken
 * in any more: the next start finishes it, and takes along what is below the name of before.
 */
export class MoveCutShortError extends Error {
  override readonly name = "MoveCutShortError";
}

/**
 * Asks the manifest for a move until it is done. After a refusal it may be written down, and is
 * finished then and not asked for again: an exchange would trade back.
 *
 * @throws {MoveCutShortError} At the end of the context's signal.
 */
export async function untilMoved(
  context: EngineContext,
  names: Names,
  move: () => Promise<MovedTree>,
): Promise<MovedTree> {
  let wasRefused = false;
  return await untilTaken(context, names, async () => {
    // One of before this may be what is written down, or nothing: then no step of this was taken.
    const done = wasRefused ? await context.manifest.finishMove({ firstKey }) : null;
    if (done?.from === names.from && done.to === names.to) return done;
    wasRefused = true;
    return await move();
  });
}

/**
 * Does again what a move of directories needs of the manifest, until that takes it.
 *
 * @throws {MoveCutShortError} At the end of the context's signal.
 */
export async function untilTaken<T>(
  { clock, signal, log }: EngineContext,
  { from, to }: Names,
  work: () => Promise<T>,
): Promise<T> {
  const names = { from: displayPath(from), to: displayPath(to) };
  for (let refused = 0;; refused++) {
    try {
      const done = await work();
      if (refused > 0) log.info("went on with the rename of a directory", names);
      return done;
    } catch (error) {
      const isRefusal = error instanceof ManifestError &&
        (error.fault === "full" || error.fault === "unavailable");
      if (!isRefusal) throw error;
      if (refused === 0) {
        log.error(
          `cannot take in the rename of a directory, and takes in no event before it can: ` +
            error.message,
          names,
        );
      }
      await clock.sleep(AGAIN_MS, signal).catch(() => {
        throw new MoveCutShortError(
          "the daemon stops before the rename of a directory is taken in",
          { cause: error },
        );
      });
    }
  }
}

/** Those that are told and not taken in yet. */
export class DirectoryMoves {
  readonly #signal: AbortSignal;
  readonly #underWay = new Set<Promise<void>>();

  constructor({ signal }: Pick<EngineContext, "signal">) {
    this.#signal = signal;
  }

  async during<T>(work: () => Promise<T>): Promise<T> {
    const done = work();
    const ended = done.then(() => {}, () => {});
    this.#underWay.add(ended);
    try {
      return await done;
    } finally {
      this.#underWay.delete(ended);
    }
  }

  /** Resolves when none is. @throws The signal's reason, as soon as it aborts. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) {
      await unlessAborted(this.#signal, Promise.all(this.#underWay));
    }
  }
}
