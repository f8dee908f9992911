/**
 * Names that went away without a DELETE so far. Each is looked at again after a while, in which
 * its DELETE may come, or the file. A look that fails is made again, at growing distances: until
 * one succeeds, an evicted file may be without its marker, and nothing but a scan would find that.
 *
 * @module
 */

import type { DepotPath } from "../core/names.ts";
import { NotCaughtUpError } from "./caught_up.ts";
import { VANISH_GRACE_MS } from "./departures.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { observe, REPORTED_APART } from "./observe.ts";

const LOOK_MS = 1_000;

/** Between two looks that fail, at most. */
const FAILING_MS_MAX = 60_000;

interface Failing {
  readonly untilMs: number;
  readonly delayMs: number;
}

export class VanishedNames {
  readonly #context: EngineContext;
  /** When each is looked at again; the earliest first. */
  readonly #dueMs = new Map<DepotPath, number>();
  /** Of those whose last look failed: not to be made again before. */
  readonly #failing = new Map<DepotPath, Failing>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** `path` is to be looked at after its grace. */
  note(path: DepotPath): void {
    this.#failing.delete(path);
    this.#queue(path);
  }

  /** Forgets the names below `directory`, and returns them. */
  takeBelow(directory: DepotPath): DepotPath[] {
    const below = [...this.#dueMs.keys()].filter((it) => it.startsWith(`${directory}/`));
    for (const path of below) {
      this.#dueMs.delete(path);
      this.#failing.delete(path);
    }
    return below;
  }

  /** Looks, until the context's signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#context;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => {});
      for (const [path, dueMs] of this.#dueMs) {
        // In the order in which they went: the rest is not due either.
        if (signal.aborted || dueMs > clock.monotonicMs()) break;
        this.#dueMs.delete(path);
        const failing = this.#failing.get(path);
        if (failing !== undefined && failing.untilMs > clock.monotonicMs()) {
          this.#queue(path);
        } else await this.#look(path);
      }
    }
  }

  #queue(path: DepotPath): void {
    // At the end of the order, also where it is in it.
    this.#dueMs.delete(path);
    this.#dueMs.set(path, this.#context.clock.monotonicMs() + VANISH_GRACE_MS);
  }

  async #look(path: DepotPath): Promise<void> {
    const { signal, manifest, log } = this.#context;
    try {
      if (manifest.get(path) !== null) await observe(this.#context, path, REPORTED_APART);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Error) || error.name === "InvariantError") throw error;
      return this.#lookAgain(path, error);
    }
    if (this.#failing.delete(path)) {
      log.info("took in a disappearance, after that had failed", shown(path));
    }
  }

  /** The watcher tells again within seconds, if at all; a full or failing disk may take long. */
  #lookAgain(path: DepotPath, error: Error): void {
    const { clock, log } = this.#context;
    const before = this.#failing.get(path);
    if (before === undefined) {
      log.error(
        `cannot take in a disappearance, and tries again: ${error.message}`,
        shown(path),
      );
    }
    const isSoon = before === undefined || error instanceof NotCaughtUpError;
    const delayMs = isSoon
      ? VANISH_GRACE_MS
      : Math.min(FAILING_MS_MAX, before.delayMs * 2);
    this.#failing.set(path, { untilMs: clock.monotonicMs() + delayMs, delayMs });
    this.#queue(path);
  }
}
