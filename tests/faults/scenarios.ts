/**
 * Every scenario by its name, and what runs them.
 *
 * @module
 */

import type { Random } from "../crash/random.ts";
import * as cloud from "./cloud_scenarios.ts";
import * as disk from "./disk_scenarios.ts";
import * as machine from "./machine_scenarios.ts";
import { type Scenario, Sites } from "./site.ts";
import * as store from "./store_scenarios.ts";

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  ...store,
  ...cloud,
  ...disk,
  ...machine,
};

export interface FaultsResult {
  readonly failed: number;
  readonly files: number;
  readonly lost: number;
  readonly wrong: number;
}

/** One after the other. @throws {RangeError} If there is no such scenario. */
export async function runScenarios(
  names: readonly string[],
  random: Random,
  log: (line: string) => void,
): Promise<FaultsResult> {
  const sites = new Sites(random);
  let failed = 0;
  for (const name of names) {
    const scenario = SCENARIOS[name];
    if (scenario === undefined) throw new RangeError(`there is no scenario ${name}`);
    const startedMs = performance.now();
    try {
      await scenario(sites);
      log(`${name}: ok, ${Math.round(performance.now() - startedMs)} ms`);
    } catch (error) {
      failed += 1;
      log(`${name}: FAILED: ${error instanceof Error ? error.stack : error}`);
      if (error instanceof SuppressedError) {
        log(`  first: ${error.suppressed?.stack}`);
        log(`  then: ${error.error?.stack}`);
      }
    }
  }
  const { files, lost, wrong } = sites;
  return { failed, files, lost, wrong };
}
