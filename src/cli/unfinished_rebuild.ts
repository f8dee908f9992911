/**
 * A rebuild that was stopped: gone on with, unless the manifest was used again since. Then what
 * it began with is older than a copy that was made meanwhile, which knows rows that neither it
 * nor the store's list can tell.
 *
 * @module
 */

import { copyNameAt, copyNamesOf, newestFirst } from "../manifest/copies.ts";
import { syncDirectory } from "../manifest/directories.ts";
import { DATA_FILE } from "../manifest/lmdb_key_value.ts";
import { rebuiltDirectoryOf } from "../manifest/lmdb_manifest.ts";
import { ManifestError } from "../manifest/manifest.ts";

export interface UnfinishedRebuild {
  /** Where the manifest belongs. */
  readonly directory: string;
  /** `--copy` or `--no-copy` was given. */
  readonly hasOwnStart: boolean;
  readonly nowMs: number;
  storeCopies(): Promise<string[]>;
  printError(line: string): void;
}

/**
 * Whether there is one to go on with. One that is too old is set aside by its name.
 *
 * @throws {ManifestError} `unavailable` if another start is asked for beside one.
 */
export async function isToGoOn(rebuild: UnfinishedRebuild): Promise<boolean> {
  const rebuilt = rebuiltDirectoryOf(rebuild.directory);
  if (await statOrNull(rebuilt) === null) return false;
  if (rebuild.hasOwnStart) {
    throw new ManifestError(
      "unavailable",
      `There is an unfinished rebuild in ${rebuilt}: go on with it without --copy and ` +
        "--no-copy, or move it away to start again",
    );
  }
  const newer = await newerCopy(rebuild, await statOrNull(`${rebuilt}/${DATA_FILE}`));
  if (newer === null) {
    rebuild.printError(`going on with ${rebuilt}`);
    return true;
  }
  const stamp = new Date(rebuild.nowMs).toISOString().replace(/[:.]/g, "-");
  const aside = `${rebuild.directory}.unfinished-${stamp}`;
  await Deno.rename(rebuilt, aside);
  await syncDirectory(rebuilt.replace(/\/[^/]*$/, "") || "/");
  rebuild.printError(
    `the copy ${newer} is newer than the unfinished rebuild, which is ${aside} now`,
  );
  return false;
}

/** Than the last write of it. Where that is in the future, nothing says that a copy is not. */
async function newerCopy(
  { directory, nowMs, storeCopies }: UnfinishedRebuild,
  data: Deno.FileInfo | null,
): Promise<string | null> {
  const names = [...copyNamesOf(directory), ...await storeCopies()];
  const newest = newestFirst(names, nowMs)[0] ?? null;
  const writtenMs = data?.mtime?.getTime() ?? 0;
  if (newest === null || writtenMs > nowMs) return newest;
  return newest > copyNameAt(writtenMs) && newest <= copyNameAt(nowMs) ? newest : null;
}

async function statOrNull(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
