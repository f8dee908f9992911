/**
 * Which deaths a run of the crash test dies, in which order, and what must be true for a
 * step to be reached.
 *
 * @module
 */

import { CRASH_POINTS, type CrashPoint } from "../../src/core/crash_point.ts";
import type { Random } from "./random.ts";

export type Death =
  /** `afterMs` after the start, whatever it does then. */
  | { readonly kind: "random"; readonly afterMs: number }
  | { readonly kind: "step"; readonly step: CrashPoint; readonly visit: number };

/** What a step needs to have happened just before the start in which it is armed. */
export interface Preparation {
  /** The death before. */
  readonly diedAt?: CrashPoint;
  /** While no daemon runs: markers of evicted files are removed. */
  readonly losesMarkers?: true;
  /** While no daemon runs: a file of nobody's lies where evictions put theirs aside. */
  readonly plantsFile?: true;
  /** While no daemon runs: a crash has left a file of `p4d` outside of its name. */
  readonly hidesVersion?: true;
  /** Only a depot that never had a daemon gets there. */
  readonly isFirstStart?: true;
}

export const PREPARATIONS: Readonly<Partial<Record<CrashPoint, Preparation>>> = {
  "observe/row-attributes": { diedAt: "restore/published" },
  "observe/row-vanished": { diedAt: "evict/marker-in-place" },
  "observe/marker-put": { losesMarkers: true },
  "recovery/entry-removed": { diedAt: "restore/temporary-named" },
  "recovery/file-returned": { hidesVersion: true },
  "recovery/file-kept": { plantsFile: true },
  "start/instance-in-manifest": { isFirstStart: true },
  "start/instance-in-store": { isFirstStart: true },
  "start/device-kept": { isFirstStart: true },
};

/** Passed at each start, perhaps once only. */
function isOncePerStart(step: CrashPoint): boolean {
  return /^(start|scan|sweep)\//.test(step) || step === "recovery/finished" ||
    PREPARATIONS[step] !== undefined;
}

export function isFirstStart(death: Death): boolean {
  return death.kind === "step" && PREPARATIONS[death.step]?.isFirstStart === true;
}

/**
 * `runs` deaths: every named step in some order, as far as there are runs for it, and
 * deaths at random between and after them. What a step wants before it comes before it.
 */
export function planDeaths(runs: number, random: Random): Death[] {
  const deaths: Death[] = [];
  while (deaths.length < runs) {
    for (const step of random.shuffled(CRASH_POINTS)) {
      const diedAt = PREPARATIONS[step]?.diedAt;
      if (diedAt !== undefined) deaths.push({ kind: "step", step: diedAt, visit: 1 });
      const visit = isOncePerStart(step) ? 1 : random.between(1, 3);
      deaths.push({ kind: "step", step, visit });
      if (random.next() < 0.5) deaths.push(randomDeath(random));
    }
  }
  return deaths.slice(0, runs);
}

function randomDeath(random: Random): Death {
  return { kind: "random", afterMs: Math.floor(random.next() ** 2 * 3_000) };
}
