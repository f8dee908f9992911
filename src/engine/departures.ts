/**
 * Names that the watcher told to be gone, and where their rows are since: the row of a file
 * that was deleted moves on with its directory until somebody says that it was deleted on
 * purpose, and he says it by the name that the file had.
 *
 * In memory only. What the shim wrote down is applied before a directory moves
 * (`EngineContext.applyDeletesBelow`), so after a crash nothing but a name of which the daemon
 * had not heard yet comes back.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { type DepotPath, depotPathOrNull } from "../core/names.ts";

/**
 * A file that disappeared gets this long to turn up again, or for its DELETE to arrive: longer
 * than the shim waits for an answer before it writes it down (shim/remove.c).
 */
export const VANISH_GRACE_MS = 7_000;

/** A DELETE follows within seconds, if at all. One that is forgotten comes back, no more. */
const REMEMBERED_MAX = 10_000;

export class Departures {
  /** By the name that was told. */
  readonly #rowOf = new Map<DepotPath, DepotPath>();
  /** The names that were told, by where the row is. */
  readonly #toldOf = new Map<DepotPath, Set<DepotPath>>();

  /** Who waits for what becomes of a name, by the name that was told. */
  readonly #waiting = new Map<DepotPath, Set<() => void>>();
  /** When each name was told to be gone. */
  readonly #toldMs = new Map<DepotPath, number>();

  /** `path` is gone, and its row is still there. */
  note(path: DepotPath, nowMs: number): void {
    this.#drop(path);
    this.#put(path, path);
    this.#toldMs.set(path, nowMs);
    if (this.#rowOf.size <= REMEMBERED_MAX) return;
    const [oldest] = this.#rowOf.keys();
    this.#drop(oldest!);
  }

  /** Where the row of the file is that was told to be gone from `path`; else null. */
  rowOf(path: DepotPath): DepotPath | null {
    return this.#rowOf.get(path) ?? null;
  }

  /**
   * Whether `path` was told to be gone within the last {@linkcode VANISH_GRACE_MS}, and its row
   * is still there.
   */
  isRecent(path: DepotPath, nowMs: number): boolean {
    const toldMs = this.#toldMs.get(path);
    return toldMs !== undefined && nowMs - toldMs < VANISH_GRACE_MS &&
      this.rowOf(path) === path;
  }

  /**
   * Resolves when the row of a name that was told to be gone is deleted or another file's, at
   * once where it was not told, and at the latest `graceMs` after that.
   */
  async settled(
    path: DepotPath,
    { clock, signal, graceMs }: {
      readonly clock: Clock;
      readonly signal: AbortSignal;
      readonly graceMs: number;
    },
  ): Promise<void> {
    const leftMs = (this.#toldMs.get(path) ?? 0) + graceMs - clock.monotonicMs();
    if (this.rowOf(path) !== path || leftMs <= 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(path) ?? new Set();
    this.#waiting.set(path, waiting.add(resolve));
    const ended = new AbortController();
    const late = clock.sleep(leftMs, AbortSignal.any([signal, ended.signal]))
      .catch(() => {});
    await Promise.race([promise, late]);
    ended.abort();
    waiting.delete(resolve);
    if (waiting.size === 0) this.#waiting.delete(path);
  }

  /** The row of `path` is another file's from now on. */
  forget(path: DepotPath): void {
    for (const told of this.#toldOf.get(path) ?? []) this.#drop(told);
  }

  /** As {@linkcode forget}, of each path below `directory`. */
  forgetBelow(directory: DepotPath): void {
    for (const path of [...this.#toldOf.keys()]) {
      if (path.startsWith(`${directory}/`)) this.forget(path);
    }
  }

  /** A file without a row is gone from `path`: whoever says so from now on means that one. */
  forgetTold(path: DepotPath): void {
    this.#drop(path);
  }

  /**
   * The directory `from` is about to be `to`, and every row in it: those that have one take the
   * place of what was deleted from a directory `to` before.
   */
  moved(from: DepotPath, to: DepotPath, hasRow: (path: DepotPath) => boolean): void {
    for (const [told, row] of [...this.#rowOf]) {
      if (!row.startsWith(`${to}/`)) continue;
      const path = within(from, to, row);
      if (path !== null && hasRow(path)) this.#drop(told);
    }
    const below = [...this.#rowOf].filter(([, row]) => row.startsWith(`${from}/`));
    for (const [told] of below) this.#drop(told);
    // One that would be too long stays where it is.
    for (const [told, row] of below) this.#put(told, within(to, from, row) ?? row);
  }

  #put(told: DepotPath, row: DepotPath): void {
    this.#rowOf.set(told, row);
    const tolds = this.#toldOf.get(row) ?? new Set();
    this.#toldOf.set(row, tolds.add(told));
  }

  #drop(told: DepotPath): void {
    const row = this.#rowOf.get(told);
    if (row === undefined) return;
    this.#rowOf.delete(told);
    this.#toldMs.delete(told);
    for (const resolve of this.#waiting.get(told) ?? []) resolve();
    const tolds = this.#toldOf.get(row)!;
    tolds.delete(told);
    if (tolds.size === 0) this.#toldOf.delete(row);
  }
}

/** The path below `to` that is `path` below `from`; null if it is too long for one. */
function within(to: DepotPath, from: DepotPath, path: DepotPath): DepotPath | null {
  return depotPathOrNull(`${to}${path.slice(from.length)}`);
}
