/**
 * What a run of the verifier is given, and what it gives.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Sampling } from "./budget.ts";
import type { CatalogStats } from "./catalog.ts";
import type { InventoryCounts } from "./orphan_judge.ts";
import type { Depth, Finding, Tally } from "./report_types.ts";
import type { ArchiveStore, LocalFiles, ManifestView } from "./sources.ts";

export interface VerifyOptions {
  readonly checkpoint: string | null;
  readonly journals: readonly string[];
  readonly depth: Depth;
  readonly sampling: Sampling;
  /** Only archives that a file below this depot path uses: `//depot/dir/`. Null for all. */
  readonly depotPrefix: string | null;
  /** Check depots of type archive too, which may be unmounted. */
  readonly checksArchiveDepots: boolean;
  readonly readsAllCopies: boolean;
  readonly findsOrphans: boolean;
  readonly orphanAgeMs: number;
  readonly recallBytesMax: number;
  readonly bytesPerSecond: number;
  readonly resumePath: string | null;
  readonly ignoresMd5: boolean;
}

export interface VerifySources {
  readonly files: LocalFiles;
  /** Absolute, one character per byte. */
  readonly depotRoot: string;
  readonly manifest: ManifestView | null;
  readonly store: ArchiveStore | null;
  readonly scratchDirectory: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export type Phase = "records" | "archives" | "store list" | "disk";

export interface VerifyObserver {
  finding(finding: Finding): void;
  /** `total` is 0 where it is not known. Called often. */
  progress(phase: Phase, done: number, total: number): void;
}

export interface VerifyResult {
  readonly tallies: ReadonlyMap<string, Tally>;
  readonly total: Tally;
  readonly reasons: ReadonlyMap<string, number>;
  readonly orphans: number;
  readonly strays: number;
  /** Null where the other direction was not looked at; then `notLooked` says why. */
  readonly inventory: InventoryCounts | null;
  readonly inventoryOmitted: string | null;
  /** The records may lack rows. */
  readonly truncated: boolean;
  /** Reasons why the result cannot be called complete; empty if it is. */
  readonly incomplete: readonly string[];
  readonly warnings: readonly string[];
  readonly stats: CatalogStats;
  readonly asOfS: number;
}
