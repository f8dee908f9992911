/**
 * Remembers which boot of the machine the last whole scan of the depot was in. Until this
 * session's first one, a difference that nobody reported may be of before the start: p4d wrote
 * while no daemon ran, somebody put an old file back, or a power cut damaged it.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import { crashPoint } from "../core/crash_point.ts";
import type { ScanReport } from "../engine/scan.ts";
import type { Manifest } from "../manifest/manifest.ts";

export class ScanRecord {
  readonly #manifest: Pick<Manifest, "setMeta">;
  readonly #clock: Clock;
  readonly #bootId: string;
  #unwatched: "newer" | "none" | null;
  #isWhole = false;

  constructor(
    { manifest, clock, bootId }: {
      readonly manifest: Pick<Manifest, "meta" | "setMeta" | "paths">;
      readonly clock: Clock;
      readonly bootId: string;
    },
  ) {
    this.#manifest = manifest;
    this.#clock = clock;
    this.#bootId = bootId;
    // With nothing to compare, each later difference is a write.
    const isNew = manifest.paths(null, 1).length === 0;
    const isSameBoot = manifest.meta("boot_id") === bootId;
    this.#unwatched = isNew ? null : isSameBoot ? "newer" : "none";
  }

  /** See {@linkcode EngineContext.unwatched}. */
  get unwatched(): "newer" | "none" | null {
    return this.#unwatched;
  }

  /** Whether a scan of this session has looked at everything. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Whether this scan looked at everything. If not, nothing is recorded. */
  async finished({ stopped, failing }: ScanReport): Promise<boolean> {
    if (stopped !== null || failing > 0) return false;
    crashPoint("scan/finished");
    await this.#manifest.setMeta("boot_id", this.#bootId);
    await this.#manifest.setMeta("scan_finished_ms", String(this.#clock.nowMs()));
    crashPoint("scan/recorded");
    this.#unwatched = null;
    this.#isWhole = true;
    return true;
  }
}
