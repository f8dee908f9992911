/**
 * The daemon's own directory below the depot root, checked before anything is opened: the
 * depot is there, is ours to write, can hold markers, and no other daemon has it.
 *
 * @module
 */

import { crashPoint } from "../core/crash_point.ts";
import type { BytePath, ManagePolicy } from "../core/names.ts";
import { bytePathOf, isHistory } from "../core/names.ts";
import { decodeMarkerAtimeNs } from "../core/marker.ts";
import { evictingDirectory, temporaryDirectory } from "../engine/engine_context.ts";
import type { Logger } from "../obs/logger.ts";
import { type Posix, PosixError } from "../posix/posix.ts";
import {
  cannotUseState,
  hasCode,
  isOfDisk,
  openLockFile,
  refuseForeignState,
} from "./own_directories.ts";
import { EXIT, messageOf, StartError } from "./start_error.ts";

export { messageOf };

export interface StateDirectory {
  /** The depot root as bytes, without trailing slash. */
  readonly root: BytePath;
  /** `<root>/.p4cache`, as text for Deno's own calls. */
  readonly path: string;
  readonly device: bigint;
  /** Gives the instance lock back. */
  close(): void;
}

/** @throws {StartError} One line for each way in which the depot cannot be used. */
export async function openStateDirectory(
  posix: Posix,
  depotPath: string,
  manage: ManagePolicy,
): Promise<StateDirectory> {
  const depot = depotPath.replace(/\/+$/, "") || "/";
  const root = bytePathOf(depot);
  const stat = posix.lstat(bytePathOf(realPathOf(depot)));
  if (stat?.kind !== "directory") {
    throw new StartError(
      EXIT.configuration,
      `depot_path ${depot} is not a directory: create it or mount it, or correct depot_path`,
    );
  }
  refuseDatabases(depot, manage);
  const path = `${depot}/.p4cache`;
  refuseForeignState(path);
  try {
    for (
      const directory of [
        `${root}/.p4cache`,
        temporaryDirectory(root),
        evictingDirectory(root),
      ]
    ) {
      posix.makeDirs(directory, 0o700);
    }
    // What took a name between the look and the making is not what was made.
    refuseForeignState(path);
    probeFileSystem(posix, root);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw cannotUseState(path, error);
  }
  const lock = await takeLock(`${path}/daemon.lock`);
  return {
    root: bytePathOf(realPathOf(depot)),
    path,
    device: stat.dev,
    close: () => lock.close(),
  };
}

function realPathOf(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/** With `manage` = all, a server's databases would be tiered like any other file. */
function refuseDatabases(depot: string, manage: ManagePolicy): void {
  if (manage === "archives") return;
  for (const { name } of Deno.readDirSync(depot)) {
    if (!name.startsWith("db.") || isHistory(name)) continue;
    throw new StartError(
      EXIT.configuration,
      `${depot} holds ${name}: it is a server root; set manage to "archives"`,
    );
  }
}

/** Markers need nanoseconds in times and RENAME_EXCHANGE: ext4, XFS and btrfs have them. */
function probeFileSystem(posix: Posix, root: BytePath): void {
  const a = `${temporaryDirectory(root)}/probe-a`;
  const b = `${temporaryDirectory(root)}/probe-b`;
  const sizeBytes = 0x1234_5678_9abc;
  for (const path of [a, b]) posix.unlink(path);
  try {
    posix.makeMarker(a, {
      sizeBytes,
      mode: 0o444,
      uid: Deno.uid() ?? 0,
      gid: Deno.gid() ?? 0,
      mtimeNs: 1_234_567_891n,
    });
    crashPoint("start/probe-made");
    posix.close(posix.createTemp(b, 0o600));
    posix.exchange(a, b);
    const marker = posix.lstat(b);
    if (marker === null || decodeMarkerAtimeNs(marker.atimeNs) !== sizeBytes) {
      throw new Error("it does not keep the nanoseconds of a file's times");
    }
  } catch (error) {
    // A full disk was probed when it was not; evictions are what makes room on it.
    if (hasCode(error, ["ENOSPC", "EDQUOT"])) return;
    if (isOfDisk(error)) throw error;
    throw new StartError(
      EXIT.configuration,
      `The file system of ${root} cannot hold evicted files: ${messageOf(error)}; ` +
        `ext4, XFS and btrfs can`,
      { cause: error },
    );
  } finally {
    for (const path of [a, b]) posix.unlink(path);
  }
}

async function takeLock(path: string): Promise<Deno.FsFile> {
  const file = openLockFile(path);
  if (await file.tryLock(true)) {
    // In this order a full disk, whose evictions wait for us, need give no block for it.
    const holder = new TextEncoder().encode(`${Deno.pid}\n`);
    await file.write(holder);
    await file.truncate(holder.length);
    return file;
  }
  const holder = (await Deno.readTextFile(path)).trim();
  file.close();
  throw new StartError(
    EXIT.configuration,
    `Another p4-cache (process ${
      holder || "unknown"
    }) has this depot: ${path} is locked; ` +
      `stop it first`,
  );
}

/**
 * Of `.p4cache`; what is in it has modes of its own. A disk that has become read-only ends
 * no daemon: who is shut out by it is told.
 */
export function setStateMode(
  { posix, log }: { readonly posix: Posix; readonly log: Logger },
  root: BytePath,
  mode: number,
): void {
  const path = `${root}/.p4cache`;
  try {
    if (posix.lstat(path)?.mode !== mode) posix.chmod(path, mode);
  } catch (error) {
    if (!(error instanceof PosixError)) throw error;
    log.error(`users of shim_allowed_uids may be kept out, or not: ${error.message}`);
  }
}
