/**
 * What a run has counted so far, by depot. Pure.
 *
 * @module
 */

import { addTally, emptyTally, type Tally } from "./report_types.ts";

/** Reasons kept; the first ones say what is wrong, more of the same do not help. */
const INCOMPLETE_MAX = 50;

export class RunTotals {
  readonly tallies = new Map<string, Tally>();
  /** Why revisions are unverifiable or skipped, and how many. */
  readonly reasons = new Map<string, number>();
  readonly incomplete: string[] = [];
  readonly warnings: string[] = [];
  /** How often something made the run incomplete, also for a reason that is known. */
  incompleteCount = 0;
  orphans = 0;
  strays = 0;

  tallyOf(depot: string): Tally {
    let tally = this.tallies.get(depot);
    if (tally === undefined) this.tallies.set(depot, tally = emptyTally());
    return tally;
  }

  addReasons(reasons: ReadonlyMap<string, number>): void {
    for (const [why, count] of reasons) {
      this.reasons.set(why, (this.reasons.get(why) ?? 0) + count);
    }
  }

  addIncomplete(why: string): void {
    this.incompleteCount++;
    if (this.incomplete.length < INCOMPLETE_MAX) addOnce(this.incomplete, why);
  }

  addWarning(why: string): void {
    addOnce(this.warnings, why);
  }

  /** Takes up what an earlier run had counted. */
  restore(
    tallies: Readonly<Record<string, Tally>>,
    reasons: Readonly<Record<string, number>>,
  ): void {
    for (const [depot, tally] of Object.entries(tallies)) {
      addTally(this.tallyOf(depot), { ...emptyTally(), ...tally });
    }
    this.addReasons(new Map(Object.entries(reasons)));
  }

  /** Revisions that were counted as good, or as unverifiable, turn out otherwise. */
  reclassify(depot: string, kind: "missing" | "bad", revisions: number): void {
    const tally = this.tallyOf(depot);
    const fromOk = Math.min(tally.ok, revisions);
    tally.ok -= fromOk;
    tally.unverifiable -= revisions - fromOk;
    tally[kind] += revisions;
  }

  /** Over all depots. */
  total(): Tally {
    const total = emptyTally();
    for (const tally of this.tallies.values()) addTally(total, tally);
    return total;
  }
}

function addOnce(list: string[], text: string): void {
  if (!list.includes(text)) list.push(text);
}
