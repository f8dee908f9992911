/**
 * One run: a fresh world, a list of operations, the checks. And the search for the shortest
 * list that still fails.
 *
 * @module
 */

import type { EngineSettings } from "../../src/engine/engine_context.ts";
import { SETTINGS } from "../support/engine_fixture.ts";
import { Random } from "../verify/random.ts";
import { checkAtRest, checkNow } from "./checks.ts";
import { type Operation, randomOperations } from "./operations.ts";
import { ModelFailure } from "./reference.ts";
import { World } from "./world.ts";

/** Operations of one run. */
const RUN_OPERATIONS = 150;

export interface Failure {
  readonly fault: "lost" | "wrong" | "bug";
  readonly message: string;
  readonly operations: readonly Operation[];
}

export interface Report {
  readonly operations: number;
  readonly runs: number;
  readonly failure: Failure | null;
}

/** Runs until `operationCount` operations are done, or one run fails. */
export async function runModel(
  { operationCount, seed }: { readonly operationCount: number; readonly seed: number },
  isLate: () => boolean = () => false,
): Promise<Report> {
  let operations = 0;
  let runs = 0;
  while (operations < operationCount && !isLate()) {
    const runSeed = (seed + runs * 7919) % 2 ** 31;
    const list = randomOperations(new Random(runSeed), RUN_OPERATIONS);
    const failure = await tryRun(list, runSeed);
    runs += 1;
    operations += list.length;
    if (failure !== null) {
      return { operations, runs, failure: await shrink(failure, runSeed) };
    }
  }
  return { operations, runs, failure: null };
}

/** Settings that a run may have; drawn from its seed. */
function settingsOf(runSeed: number): EngineSettings {
  return {
    ...SETTINGS,
    storeLookupOnMiss: false,
    evictVerify: runSeed % 5 === 0 ? "full" : "head",
    // Half of the runs evict by themselves too, as much as they may.
    maxCacheBytes: runSeed % 2,
    uploadThreads: 2,
    deleteGraceSecs: 30,
    slowRetrySecs: 60,
  };
}

/** Null if all is well. */
export async function tryRun(
  operations: readonly Operation[],
  runSeed: number,
): Promise<Failure | null> {
  const world = new World(settingsOf(runSeed));
  // What nobody awaits is logged by the daemon, and ends it if it is a bug.
  const onRejection = (event: PromiseRejectionEvent): void => {
    event.preventDefault();
    world.takeError(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  try {
    await world.open(new Random(runSeed));
    for (const { action, steps, salt } of operations) {
      const random = new Random(salt);
      console.log(JSON.stringify(action),steps); await world.act(action, random);
      await world.go(steps, random);
      checkNow(world);
    }
    await checkAtRest(world, new Random(runSeed));
    return null;
  } catch (error) {
    const fault = error instanceof ModelFailure ? error.fault : "bug";
    const message = error instanceof ModelFailure
      ? error.message
      : error instanceof Error
      ? error.stack ?? error.message
      : String(error);
    return { fault, message, operations };
  } finally {
    world.crash(false);
    globalThis.removeEventListener("unhandledrejection", onRejection);
  }
}

/** Leaves out what the failure does not need: halves first, then single operations. */
async function shrink(failure: Failure, runSeed: number): Promise<Failure> {
  let best = failure;
  for (let size = best.operations.length >> 1; size >= 1;) {
    let hasShrunk = false;
    for (let start = 0; start < best.operations.length;) {
      const shorter = best.operations.toSpliced(start, size);
      const again = await tryRun(shorter, runSeed);
      if (again !== null && again.fault === best.fault) {
        best = again;
        hasShrunk = true;
      } else start += size;
    }
    if (size > 1) size >>= 1;
    else if (!hasShrunk) break;
  }
  return best;
}
