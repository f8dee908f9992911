/**
 * `p4-cache manifest-backup`: a consistent copy of the manifest, while the daemon runs.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { Fault } from "../manifest/check.ts";
import type { CheckOptions } from "../manifest/check_manifest.ts";
import { isThere, removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { damaged } from "../manifest/reader.ts";
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

Copies the manifest as it is at one moment into DIRECTORY, which must not exist, and looks
at all pages of the copy, the sum over its entries, and its counters. Until that is done
the copy is DIRECTORY.unchecked; one that is not sound is removed, and the message says
whether the manifest is damaged, too. The daemon goes on meanwhile.

${PLACE_HELP}

Exit status: 0 done, 2 usage, 3 it could not be copied, 74 it or the copy is damaged, 78
configuration.
`;

export interface ManifestBackupDeps extends ManifestCommandDeps {
  checkManifest(directory: string, options?: CheckOptions): AsyncIterable<Fault>;
}

/** Where a copy is made: all absolute. */
interface Places {
  readonly directory: string;
  readonly target: string;
  /** Where the copy is until it was looked at. */
  readonly unchecked: string;
}

export function runManifestBackup(
  args: readonly string[],
  deps: ManifestBackupDeps,
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
  return reporting("manifest-backup", deps, async () => {
    const target = absolute(given);
    const directory = manifestDirectory(values);
    const places = { directory, target, unchecked: `${target}.unchecked` };
    refuseExisting(places);
    const told = await makeCopy(places, deps);
    deps.print(`${target}: ${told}`);
    return 0;
  });
}

/** As the kernel has it: `..` behind a link leads out of where the link leads to. */
function absolute(given: string): string {
  const path = given.startsWith("/") ? given : `${Deno.cwd()}/${given}`;
  return path.replace(/\/+$/, "");
}

function refuseExisting({ target, unchecked }: Places): void {
  const refuse = (what: string): never => {
    throw new ManifestError("unavailable", `Cannot copy to ${target}: ${what}`);
  };
  if (isThere(target)) refuse("it exists");
  // It may be a good copy of what is damaged by now: that is not ours to judge.
  if (isThere(unchecked)) {
    refuse(`${unchecked} exists, which a run that was cut short has left; remove it`);
  }
}

/** Leaves a sound copy at its place, or nothing. Returns what is in it. */
async function makeCopy(places: Places, deps: ManifestBackupDeps): Promise<string> {
  const { directory, target, unchecked } = places;
  let told: string;
  try {
    const manifest = await deps.openManifest({ directory, readOnly: true });
    try {
      await manifest.backup(unchecked);
    } finally {
      await manifest.close();
    }
    await refuseUnsound(places, deps);
    told = await countCopy(places, deps);
    await Deno.rename(unchecked, target);
  } catch (error) {
    await removeIfThere(unchecked);
    throw error;
  }
  await syncDirectory(`${target}/..`);
  return told;
}

/** The manifest was sound when it was opened. @throws {ManifestError} `damaged` */
async function refuseUnsound(
  { target, unchecked }: Places,
  deps: ManifestBackupDeps,
): Promise<void> {
  const fault = await firstFault(unchecked, deps);
  if (fault === null) return;
  throw new ManifestError(
    "damaged",
    `No copy was made: what was written for ${target} is not what came back (${fault}), ` +
      "though the manifest is sound; look at that disk, or copy to another one",
  );
}

/** That the pages are sound and hold exactly what was written last; null: they do. */
async function firstFault(
  directory: string,
  deps: ManifestBackupDeps,
): Promise<string | null> {
  const faults = deps.checkManifest(directory, { pagesOnly: true });
  for await (const { where, what } of faults) return `${where}: ${what}`;
  return null;
}

/** Of a copy with sound pages, which LMDB may be given. */
async function countCopy(
  { directory, unchecked }: Places,
  deps: ManifestBackupDeps,
): Promise<string> {
  const copy = await deps.openManifest({ directory: unchecked, readOnly: true });
  try {
    const { kept, counted } = await copy.recount();
    if (JSON.stringify(kept) !== JSON.stringify(counted)) {
      const what = "its counters differ from its rows";
      throw damaged(`No copy was made: the manifest in ${directory} (${what})`);
    }
    const files = counted.cleanFiles + counted.dirtyFiles + counted.uploadingFiles;
    return `${files} files, ${counted.tombstones} tombstones`;
  } finally {
    await copy.close();
  }
}
