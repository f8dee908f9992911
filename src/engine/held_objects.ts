/**
 * Objects that stay though their grace is over, because a marker may stand for them: it may be all
 * that is left of a file that was renamed while nobody watched, or whose row was lost with a
 * manifest, and the object be the only copy. And who is told of it, and how often.
 *
 * @module
 */

import type { Tombstone } from "../manifest/manifest.ts";
import { type EngineContext, shown } from "./engine_context.ts";
import { ToldOnce } from "./told_once.ts";
import { unknownMarkerAt } from "./unknown_markers.ts";

/** Between two lines that say the same, and between two scans that see whether it still holds. */
const AGAIN_MS = 86_400_000;

/** A scan that takes longer is told of. */
const SCAN_MS = 3_600_000;

const NOT_SCANNED =
  "no scan since the start, or since something may have been missed, has looked at " +
  "everything, and a file that was renamed meanwhile may need it";

export class HeldObjects {
  readonly #context: EngineContext;
  readonly #atName = new ToldOnce();
  /** By their text, when lines were last told. */
  readonly #toldMs = new Map<string, number>();
  #askedMs: number;
  #inRound = 0;
  #count = 0;
  /** Since when a pass waits for a scan; null: none does. */
  #unscannedSinceMs: number | null = null;

  constructor(context: EngineContext) {
    this.#context = context;
    this.#askedMs = context.clock.monotonicMs();
  }

  /** By the last pass that was through. */
  get count(): number {
    return this.#count;
  }

  /** Whether any object may go; asked once all that was done until now is taken in. */
  async mayAnyGo(): Promise<boolean> {
    // A watcher that does not tell: a rename may be on its way, or be missed.
    if (!await this.#context.eventsUntilNow()) return false;
    const why = this.whyNone();
    if (why !== NOT_SCANNED) this.#unscannedSinceMs = null;
    if (why === null) return true;
    const nowMs = this.#context.clock.monotonicMs();
    if (why === NOT_SCANNED) this.#unscannedSinceMs ??= nowMs;
    const isScanning = this.#unscannedSinceMs !== null &&
      nowMs - this.#unscannedSinceMs < SCAN_MS;
    if (!isScanning) this.#tell(`no object of a deleted file is removed: ${why}`, {});
    this.#askForScan();
    return false;
  }

  /** The last pass found no scan that was whole; mostly the one of the start is under way. */
  get waitsForScan(): boolean {
    return this.#unscannedSinceMs !== null;
  }

  /** Why no object may go just now; null: some may. */
  whyNone(): string | null {
    const { scans, unknownMarkers } = this.#context;
    return scans.isWhole() ? unknownMarkers.whyAll : NOT_SCANNED;
  }

  /**
   * Whether a marker that is not of the row of its name may stand for the version: one at the name
   * of the file, be it touched, or, wherever it is, one that says its size.
   */
  isHeld({ id, path, stored }: Tombstone): boolean {
    const { unknownMarkers, log } = this.#context;
    if (unknownMarkerAt(this.#context, path) === null) {
      return unknownMarkers.hasSize(stored.sizeBytes);
    }
    if (!this.#atName.wasTold(id)) {
      log.warn("an object stays: a marker stands at the name of its deleted file", {
        ...shown(path),
        key: stored.key,
      });
    }
    return true;
  }

  /** Its file may have been renamed before it was deleted under its old name, and nobody told. */
  isUnscanned({ atMs }: Tombstone): boolean {
    const { scans, unknownMarkers } = this.#context;
    return !scans.areRenamesTold() && atMs >= unknownMarkers.sinceMs;
  }

  /** One that is due has been passed over. */
  passedOver(tombstone: Tombstone): void {
    if (this.isUnscanned(tombstone)) this.#askForScan();
    else this.#inRound += 1;
  }

  /** All that are due have been looked at. */
  roundEnded(): void {
    this.#unscannedSinceMs = null;
    this.#count = this.#inRound;
    this.#inRound = 0;
    if (this.#count === 0) return;
    this.#tell(
      "objects of deleted files stay: markers that are not of the row of their name may " +
        "stand for them",
      { objects: this.#count },
    );
    this.#askForScan();
  }

  #tell(text: string, fields: { readonly objects?: number }): void {
    const nowMs = this.#context.clock.monotonicMs();
    const toldMs = this.#toldMs.get(text);
    if (toldMs !== undefined && nowMs - toldMs < AGAIN_MS) return;
    // The texts name directories: no more than the last ones are remembered.
    if (this.#toldMs.size > 100) this.#toldMs.clear();
    this.#toldMs.set(text, nowMs);
    this.#context.log.warn(text, fields);
  }

  /** The operator may have put the markers back, or removed them: only a scan sees that. */
  #askForScan(): void {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#askedMs < AGAIN_MS) return;
    this.#askedMs = nowMs;
    this.#context.scans.request();
  }
}
