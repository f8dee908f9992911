/**
 * Checks all archives of one `lbrFile`: where they lie, what is not asked for, and each file.
 *
 * @module
 */

import type { ArchiveBase, DepotMaps } from "../perforce/archive_path.ts";
import type { ArchiveChecker } from "./archive_check.ts";
import { type ArchiveFile, planArchive } from "./archive_plan.ts";
import { isSelected, type Selection } from "./budget.ts";
import type { ArchiveGroup } from "./claims.ts";
import type { FileOutcome } from "./outcome_draft.ts";
import { emptyTally, type Tally } from "./report_types.ts";

export interface GroupOutcome {
  readonly key: string;
  readonly depot: string;
  readonly claims: number;
  readonly tally: Tally;
  readonly files: readonly FileOutcome[];
  /** Names beside those of files that an archive may have: they are no orphans. */
  readonly otherNames: readonly string[];
  readonly reasons: ReadonlyMap<string, number>;
}

export interface GroupCheckOptions {
  readonly maps: DepotMaps;
  readonly checker: ArchiveChecker;
  /** For groups that an earlier run has done: finds names only. */
  readonly passer: ArchiveChecker;
  /** Groups up to this key are done; "" for none. */
  readonly doneUpTo: string;
  /** Groups up to there that are not done. */
  readonly left: ReadonlySet<string>;
  readonly selection: Selection;
  readonly checksArchiveDepots: boolean;
  readonly onWarning: (why: string) => void;
}

export class GroupChecker {
  readonly #options: GroupCheckOptions;

  constructor(options: GroupCheckOptions) {
    this.#options = options;
  }

  /** By an earlier run. */
  isDone(key: string): boolean {
    const { doneUpTo, left } = this.#options;
    return doneUpTo !== "" && key <= doneUpTo && !left.has(key);
  }

  async check(group: ArchiveGroup): Promise<GroupOutcome> {
    const lbrFile = group.claims[0]!.lbrFile;
    const tally = emptyTally();
    const reasons = new Map<string, number>();
    const claims = group.claims.reduce((sum, claim) => sum + claim.rows, 0);
    const base = this.#options.maps.resolve(lbrFile);
    const depot = base?.depot ?? lbrFile.slice(2, lbrFile.indexOf("/", 2));
    const outcome = { key: group.key, depot, claims, tally, reasons };
    const why = base === null ? null : this.#whySkipped(base);
    if (why !== null || !group.isWanted) {
      tally.skipped += revisionsOf(group);
      if (why !== null) reasons.set(why, revisionsOf(group));
      return { ...outcome, files: [], otherNames: [] };
    }
    if (base === null) {
      this.#options.onWarning(
        `//${depot}/ has no depot record; its map is taken to be ${depot}/...`,
      );
    }
    const path = base?.path ?? lbrFile.slice(2);
    const absolute = base?.isOutside === true;
    if (absolute && !path.startsWith("/")) {
      tally.checked += revisionsOf(group);
      tally.unverifiable += revisionsOf(group);
      reasons.set("its depot map leads out of the depot root", revisionsOf(group));
      return { ...outcome, files: [], otherNames: [] };
    }
    const plan = planArchive(
      group.claims,
      path,
      (it) => this.#options.maps.spellings(it),
    );
    tally.skipped += plan.external;
    for (const { why } of plan.unverifiable) {
      tally.checked++;
      tally.unverifiable++;
      reasons.set(why, (reasons.get(why) ?? 0) + 1);
    }
    const files: FileOutcome[] = [];
    for (const file of plan.files) files.push(await this.#checkFile(group.key, file));
    return { ...outcome, files, otherNames: plan.otherNames };
  }

  async #checkFile(key: string, file: ArchiveFile): Promise<FileOutcome> {
    const { passer, checker, selection } = this.#options;
    if (this.isDone(key)) return await passer.check(file, false);
    return await checker.check(file, isSelected(key, selection));
  }

  #whySkipped(base: ArchiveBase): string | null {
    if (base.depotType === "remote") return "a remote depot has no archives of its own";
    if (base.depotType === "archive" && !this.#options.checksArchiveDepots) {
      return "an archive depot (--archive-depots checks it)";
    }
    return base.address === ""
      ? null
      : "the server keeps the depot in an object store of its own";
  }
}

/** Archive revisions that a group's claims speak of. */
function revisionsOf(group: ArchiveGroup): number {
  return new Set(group.claims.map((claim) => `${claim.form}/${claim.lbrRev}`)).size;
}
