/**
 * `p4-cache check-manifest`: every fault of the manifest on disk.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { Fault } from "../manifest/check.ts";
import { hasManifest } from "../manifest/lmdb_manifest.ts";
import { ManifestError } from "../manifest/manifest.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache check-manifest [--config FILE | --manifest DIR] [--json]

Looks at every page and every row of the manifest, each table against the others, and
the counters against a recount. Reads only; safe while the daemon runs.

${PLACE_HELP}
  --json            one object a line: {"where":..., "what":...}

Exit status: 0 nothing is wrong, 2 usage, 3 there is none or it could not be looked at, 74
faults were found (p4-cache rebuild-manifest recovers), 78 configuration.
`;

export interface CheckManifestDeps extends ManifestCommandDeps {
  checkManifest(directory: string): AsyncIterable<Fault>;
}

export function runCheckManifest(
  args: readonly string[],
  deps: CheckManifestDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...PLACE_OPTIONS, json: { type: "boolean", default: false } },
  });
  return reporting("check-manifest", deps, async () => {
    const directory = manifestDirectory(values);
    if (isAbsent(directory)) {
      throw new ManifestError("unavailable", `There is no manifest in ${directory}`);
    }
    let count = 0;
    for await (const { where, what } of deps.checkManifest(directory)) {
      count++;
      deps.print(values.json ? JSON.stringify({ where, what }) : `${where}: ${what}`);
    }
    if (count === 0) {
      if (!values.json) deps.print(`${directory}: nothing is wrong`);
      return 0;
    }
    deps.printError(
      `p4-cache check-manifest: ${
        count === 1 ? "1 fault" : `${count} faults`
      } in ${directory}; stop the daemon and run ` +
        "`p4-cache rebuild-manifest`, which starts from the newest copy",
    );
    return 74;
  });
}

/** Nothing at all: a wrong path, or a depot that no daemon had yet. */
function isAbsent(directory: string): boolean {
  try {
    return !hasManifest(directory);
  } catch (error) {
    // The check says what is wrong with it.
    if (error instanceof ManifestError && error.fault === "damaged") return false;
    throw error;
  }
}
