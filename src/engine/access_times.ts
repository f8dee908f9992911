/**
 * When files were last opened, kept until it is written: the order of eviction.
 *
 * Who tells of opens may tell of any names, and of as many as he likes: only names that have a row
 * are kept, and only so many.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import { ManifestError } from "../manifest/manifest.ts";
import type { EngineContext } from "./engine_context.ts";

/** Of files, until they are written: a few seconds. */
const KEPT_MAX = 200_000;

type Context = Pick<EngineContext, "manifest" | "clock" | "metrics">;

export class AccessTimes {
  readonly #context: Context;
  readonly #keptMax: number;
  #kept = new Map<DepotPath, number>();

  constructor(context: Context, keptMax = KEPT_MAX) {
    this.#context = context;
    this.#keptMax = keptMax;
  }

  /**
   * The file was opened, by the opener's clock. A time that is still to come is taken for now: it
   * would keep the file from being evicted until then.
   */
  note(text: string, atMs: number): void {
    const path = depotPathOrNull(text);
    if (path === null) return;
    const before = this.#kept.get(path);
    if (before === undefined && !this.#mayKeep(path)) return;
    const atS = Math.floor(Math.min(atMs, this.#context.clock.nowMs()) / 1000);
    this.#kept.set(path, Math.max(atS, before ?? 0));
  }

  #mayKeep(path: DepotPath): boolean {
    const { manifest, metrics } = this.#context;
    if (this.#kept.size >= this.#keptMax) {
      metrics.count("p4cache_access_log_dgram_dropped_total");
      return false;
    }
    try {
      return manifest.get(path) !== null;
    } catch (error) {
      // Whoever needs the row will say so.
      if (error instanceof ManifestError) return false;
      throw error;
    }
  }

  /** @throws {ManifestError} What was kept is forgotten then. */
  async write(): Promise<void> {
    const kept = this.#kept;
    if (kept.size === 0) return;
    this.#kept = new Map();
    await this.#context.manifest.accessed(kept);
  }
}
