/**
 * `p4-cache manifest-backup`: a consistent copy of the manifest, while the daemon runs.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { ManifestError } from "../manifest/manifest.ts";
import { UsageError } from "./command.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache manifest-backup [--config FILE | --manifest DIR] DIRECTORY

Copies the manifest as it is at one moment into DIRECTORY, which must not exist, and
counts the copy again. The daemon goes on meanwhile.

${PLACE_HELP}

Exit status: 0 done, 2 usage, 3 it could not be copied, 74 it is damaged, 78 configuration.
`;

export function runManifestBackup(
  args: readonly string[],
  deps: ManifestCommandDeps,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: PLACE_OPTIONS,
    allowPositionals: true,
  });
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    throw new UsageError("the directory of the copy is wanted, and nothing else");
  }
  const target = given.replace(/\/+$/, "");
  return reporting("manifest-backup", deps, async () => {
    refuseExisting(target);
    const directory = manifestDirectory(values);
    const manifest = await deps.openManifest({ directory, readOnly: true });
    try {
      await manifest.backup(target);
    } finally {
      await manifest.close();
    }
    return await verifyCopy(target, deps);
  });
}

function refuseExisting(target: string): void {
  try {
    Deno.lstatSync(target);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  throw new ManifestError("unavailable", `Cannot copy to ${target}: it exists`);
}

/** A copy that cannot be read is none. */
async function verifyCopy(target: string, deps: ManifestCommandDeps): Promise<number> {
  const copy = await deps.openManifest({ directory: target, readOnly: true });
  try {
    const { kept, counted } = await copy.recount();
    if (JSON.stringify(kept) !== JSON.stringify(counted)) {
      deps.printError(
        `p4-cache manifest-backup: the counters of ${target} differ from its rows; ` +
          "run `p4-cache check-manifest`",
      );
      return 74;
    }
    const files = counted.cleanFiles + counted.dirtyFiles + counted.uploadingFiles;
    deps.print(`${target}: ${files} files, ${counted.tombstones} tombstones`);
    return 0;
  } finally {
    await copy.close();
  }
}
