/**
 * Where a rebuild of the manifest starts: the newest sound copy that there is.
 *
 * @module
 */

import type { Fault } from "../manifest/check.ts";
import type { CheckOptions } from "../manifest/check_manifest.ts";
import { copyDirectoryOf, copyNamesOf, newestFirst } from "../manifest/copies.ts";
import { removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { DATA_FILE, LOCK_FILE } from "../manifest/lmdb_key_value.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { StorageError } from "../storage/storage_error.ts";
import type { ManifestCommandDeps } from "./manifest_arguments.ts";
import type { RebuildSides, RebuildStoreSide } from "./rebuild_stores.ts";

export interface CopyDeps extends ManifestCommandDeps {
  checkManifest(directory: string, options?: CheckOptions): AsyncIterable<Fault>;
}

export interface StartPlace {
  readonly directory: string;
  readonly rebuilt: string;
  readonly sides: RebuildSides;
}

export interface StartOptions {
  /** This one, and no other. */
  readonly copy: string | null;
  readonly noCopy: boolean;
}

/** Makes the manifest `rebuilt`, or leaves it to be made anew. */
export async function startFromCopy(
  { directory, rebuilt, sides }: StartPlace,
  { copy, noCopy }: StartOptions,
  deps: CopyDeps,
): Promise<void> {
  if (noCopy) return;
  if (copy !== null) {
    if (await takeLocalCopy(copy, rebuilt, deps)) return;
    throw new ManifestError("unavailable", `Cannot start from the copy ${copy}`);
  }
  const primary = { ...sides.primary, called: "the store" };
  if (await takeNewest(primary, { rebuilt, directory }, deps)) return;
  const { secondary } = sides;
  if (secondary !== null && await isOfSameInstance(sides.primary, secondary)) {
    const side = { ...secondary, called: "the secondary store" };
    if (await takeNewest(side, { rebuilt, directory: null }, deps)) return;
  }
  deps.printError("there is no copy: every object is asked for by itself");
}

/** The primary before, or a replica; and not the store of another depot. */
async function isOfSameInstance(
  primary: RebuildStoreSide,
  secondary: RebuildStoreSide,
): Promise<boolean> {
  const theirs = await secondary.instanceId();
  const ours = await primary.instanceId();
  return theirs !== null && (ours === null || ours === theirs);
}

interface NamedSide extends RebuildStoreSide {
  readonly called: string;
}

/** Copies of one name are one copy, in two places. */
async function takeNewest(
  side: NamedSide,
  { rebuilt, directory }: {
    readonly rebuilt: string;
    /** Of the manifest whose local copies count, too. */
    readonly directory: string | null;
  },
  deps: CopyDeps,
): Promise<boolean> {
  const locals = directory === null ? [] : copyNamesOf(directory);
  const inStore = await side.storeCopies();
  for (const name of newestFirst([...new Set([...locals, ...inStore])], deps.nowMs())) {
    if (directory !== null && locals.includes(name)) {
      const local = copyDirectoryOf(directory, name);
      if (await takeLocalCopy(local, rebuilt, deps)) return true;
    }
    if (inStore.includes(name) && await takeStoreCopy(name, rebuilt, side, deps)) {
      return true;
    }
  }
  return false;
}

async function takeLocalCopy(
  copy: string,
  rebuilt: string,
  deps: CopyDeps,
): Promise<boolean> {
  if (!await isSound(copy, deps)) {
    deps.printError(`the copy ${copy} is damaged, too`);
    return false;
  }
  deps.printError(`starting from the copy ${copy}`);
  const fetched = await fetchBeside(rebuilt, async (file) => {
    await Deno.copyFile(`${copy}/${DATA_FILE}`, file);
  });
  await takeFetched(fetched, rebuilt);
  return true;
}

/** Where a copy stays until all of it is there. Of one that fails nothing is left: a full disk is `p4d`'s. */
async function fetchBeside(
  rebuilt: string,
  fetch: (file: string) => Promise<void>,
): Promise<string> {
  const fetched = `${rebuilt}.fetched`;
  await removeIfThere(fetched);
  await Deno.mkdir(fetched, { mode: 0o700 });
  try {
    await fetch(`${fetched}/${DATA_FILE}`);
  } catch (error) {
    await removeIfThere(fetched);
    throw error;
  }
  return fetched;
}

/** Makes what was fetched the manifest that is worked on: durably all of it, or nothing. */
async function takeFetched(fetched: string, rebuilt: string): Promise<void> {
  // Looking at it made a lock file of readers: the data alone is the copy.
  await removeIfThere(`${fetched}/${LOCK_FILE}`);
  using file = await Deno.open(`${fetched}/${DATA_FILE}`);
  await file.sync();
  await syncDirectory(fetched);
  await Deno.rename(fetched, rebuilt);
  await syncDirectory(rebuilt.replace(/\/[^/]*$/, "") || "/");
}

async function takeStoreCopy(
  name: string,
  rebuilt: string,
  side: NamedSide,
  deps: CopyDeps,
): Promise<boolean> {
  deps.printError(`fetching the copy ${name} from ${side.called}`);
  let fetched: string;
  try {
    fetched = await fetchBeside(rebuilt, (file) => side.fetchCopy(name, file));
  } catch (error) {
    // Older ones may be whole; anything but damage is for the operator to see.
    if (!(error instanceof StorageError) || error.fault !== "corrupt") throw error;
    deps.printError(`the copy ${name} in ${side.called} is damaged: ${error.message}`);
    return false;
  }
  if (!await isSound(fetched, deps)) {
    deps.printError(`the copy ${name} in ${side.called} is damaged`);
    return false;
  }
  deps.printError(`starting from the copy ${name} of ${side.called}`);
  await takeFetched(fetched, rebuilt);
  return true;
}

/** Copies of before an upgrade are of an older schema; the rebuild brings what it works on to this one. */
async function isSound(copy: string, deps: CopyDeps): Promise<boolean> {
  for await (const _ of deps.checkManifest(copy, { takesOlder: true })) return false;
  return true;
}
