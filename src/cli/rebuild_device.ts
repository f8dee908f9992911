/**
 * Whether the depot that a manifest is rebuilt for is on the disk that it was on. An empty mount
 * point looks like a new disk: a manifest made for it would let the daemon serve there, and
 * take what `p4d` writes, until the disk is mounted again and knows nothing of it.
 *
 * @module
 */

import {
  type DepotPlace,
  judgePlace,
  keepPlace,
  knownPlaceOf,
} from "../daemon/depot_place.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import type { Fault } from "../manifest/check.ts";
import { copyNamesOf } from "../manifest/copies.ts";
import type { OpenManifestOptions } from "../manifest/lmdb_manifest.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";

export interface RebuildPlace {
  /** Where the manifest belongs. */
  readonly directory: string;
  readonly place: DepotPlace;
  /** The operator says that the depot is on another disk than before. */
  readonly isNewDisk: boolean;
}

export interface PlaceDeps {
  openManifest(options: OpenManifestOptions): Promise<Manifest>;
  checkManifest(directory: string): AsyncIterable<Fault>;
}

/** @throws {StartError} 78 if `depotPath` is not there: it is never created. */
export async function requireDepot(depotPath: string): Promise<void> {
  const { isDirectory } = await Deno.stat(depotPath)
    .catch(() => ({ isDirectory: false }));
  if (isDirectory) return;
  throw new StartError(
    EXIT.configuration,
    `${depotPath} is not a directory: create it or mount it, or correct depot_path`,
  );
}

/** The one that the manifest in `directory` belongs in: a new disk has none. @throws {StartError} */
export async function makeStateDirectory(directory: string): Promise<void> {
  const state = parentOf(directory);
  await requireDepot(parentOf(state));
  await Deno.mkdir(state, { mode: 0o700 }).catch((error) => {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  });
}

/**
 * Writes the depot's place into `manifest`, which has what the copy knew, and the instance.
 *
 * @throws {StartError} 78 if it is another than before, or if nothing shows that it is not.
 */
export async function settleDevice(
  manifest: Manifest,
  { directory, place, isNewDisk }: RebuildPlace,
  deps: PlaceDeps,
): Promise<void> {
  const known = knownPlaceOf(manifest);
  if (!isNewDisk) {
    const { device } = place;
    if (known !== null && judgePlace(known, place) === "another") {
      refuse(`is on another device (${device}) than before (${known.device})`);
    }
    const isUsed = manifest.meta("instance_id") !== null;
    if (known === null && isUsed && !await wasHere(directory, deps)) {
      refuse("has nothing of a manifest that was there before");
    }
  }
  await keepPlace(manifest, place);

  function refuse(what: string): never {
    throw new StartError(
      EXIT.configuration,
      `The depot beside ${directory} ${what}: if its disk is not mounted, mount it; if ` +
        "the disk is new, or the depot was moved, give --new-disk",
    );
  }
}

/** Copies, or a manifest that is more than what a start makes before it refuses. */
async function wasHere(directory: string, deps: PlaceDeps): Promise<boolean> {
  if (copyNamesOf(directory).length > 0) return true;
  if (await isAbsent(directory)) return false;
  // LMDB trusts what it opens.
  if (await isUnreadable(directory, deps)) return true;
  const manifest = await deps.openManifest({ directory, readOnly: true });
  try {
    return manifest.entries("", null, 1).length > 0;
  } finally {
    await manifest.close();
  }
}

/** A manifest that is damaged, or that another version of p4-cache has written, was in use. */
async function isUnreadable(directory: string, deps: PlaceDeps): Promise<boolean> {
  try {
    for await (const _ of deps.checkManifest(directory)) return true;
    return false;
  } catch (error) {
    const isOfAnother = error instanceof ManifestError &&
      (error.fault === "newer" || error.fault === "older");
    if (isOfAnother) return true;
    throw error;
  }
}

function isAbsent(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => false, (error) => {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  });
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}
