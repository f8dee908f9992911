/**
 * Whose `.p4cache` it is. Everything in it is ours alone, and we go through its names without
 * looking again: so before anything is made or opened below it, it and our directories in it
 * must be directories, not links to some, that nobody else can change. Otherwise whoever can
 * has us write, and so a daemon that runs as root, wherever he likes.
 *
 * What this cannot see to is the directory above: who may rename in the depot's root may put
 * another `.p4cache` there at any moment (see {@linkcode warningOfOwner}).
 *
 * @module
 */

import { openOwnFile, OwnFileError } from "../core/own_file.ts";
import { EXIT, StartError } from "./start_error.ts";

/** Their files are opened by libraries, which follow links. */
const OPENED_BY_LIBRARIES = [
  "native",
  "manifest",
  "manifest.new",
  "manifest.rebuilt",
  "manifest.rebuilt.new",
  "manifest.rebuilt.fetched",
];

const OWN_DIRECTORIES = [
  "tmp",
  "evicting",
  "lost+found",
  "manifest-copies",
  ...OPENED_BY_LIBRARIES,
];

const OTHERS_MAY_WRITE = 0o022;

/**
 * Looks at `<depot>/.p4cache`; nothing is wrong with one that is not there yet.
 *
 * @throws {StartError} `configuration`: what is wrong, and what to do.
 */
export function refuseForeignState(statePath: string, uid = Deno.uid() ?? 0): void {
  try {
    const info = lstatOrNull(statePath);
    if (info === null) return;
    refuseForeign(statePath, info, uid);
    for (const { name, isSymlink } of Deno.readDirSync(statePath)) {
      const path = `${statePath}/${name}`;
      if (isSymlink) throw linkError(path);
      if (!OWN_DIRECTORIES.includes(name)) continue;
      const own = lstatOrNull(path);
      if (own === null) continue;
      refuseForeign(path, own, uid);
      if (OPENED_BY_LIBRARIES.includes(name)) refuseLinksIn(path);
    }
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw cannotUseState(statePath, error);
  }
}

function refuseForeign(path: string, info: Deno.FileInfo, uid: number): void {
  if (info.isSymlink) throw linkError(path);
  if (!info.isDirectory) {
    throw refusal(path, "it is no directory; find out who put it there, and remove it");
  }
  const owner = info.uid ?? uid;
  if (owner !== uid && owner !== 0) {
    throw refusal(
      path,
      `it belongs to UID ${owner}, who could have p4-cache write elsewhere as UID ${uid}; ` +
        `run p4-cache as the user that p4d runs as (sudo -u); if that is UID ${uid}, look at ` +
        `what is in it, then chown it and its directories`,
    );
  }
  const mode = (info.mode ?? 0) & 0o7777;
  if ((mode & OTHERS_MAY_WRITE) !== 0) {
    throw refusal(
      path,
      `its mode is ${
        mode.toString(8)
      }, so that others can write in it; look at what is ` +
        `in it, then chmod go-w it`,
    );
  }
}

function refuseLinksIn(directory: string): void {
  try {
    for (const { name, isSymlink } of Deno.readDirSync(directory)) {
      if (isSymlink) throw linkError(`${directory}/${name}`);
    }
  } catch (error) {
    // Root's, of which we can open nothing either; it may be one that is not needed.
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
}

function linkError(path: string): StartError {
  return refusal(
    path,
    "it is a symbolic link, and what p4-cache writes would go where it leads; find out who " +
      "put it there, and put the real one in its place",
  );
}

function refusal(path: string, what: string): StartError {
  return new StartError(EXIT.configuration, `Cannot use ${path}: ${what}`);
}

/** Why the state directory failed us: the disk, or who we are. */
export function cannotUseState(statePath: string, error: unknown): StartError {
  const why = error instanceof Error ? error.message : String(error);
  if (isOfDisk(error)) {
    return new StartError(
      EXIT.stateDamaged,
      `Cannot use ${statePath}: ${why}; see to the depot's disk and start again`,
      { cause: error },
    );
  }
  return new StartError(
    EXIT.configuration,
    `Cannot use ${statePath}: ${why}; it must be writable for UID ${Deno.uid()}, ` +
      `the one that p4d runs as`,
    { cause: error },
  );
}

/** The disk fails now, which says nothing of what its file system can do. */
export function isOfDisk(error: unknown): boolean {
  return hasCode(error, ["EIO", "ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EROFS"]);
}

/** Of an error of the system, ours or Deno's. */
export function hasCode(error: unknown, codes: readonly string[]): boolean {
  const code = error instanceof Error && "code" in error ? error.code : null;
  return typeof code === "string" && codes.includes(code);
}

/** What the daemon's lock is taken on. @throws {StartError} */
export function openLockFile(path: string): Deno.FsFile {
  try {
    return openOwnFile(path, { read: true, write: true, mode: 0o600 });
  } catch (error) {
    if (!(error instanceof OwnFileError)) throw error;
    throw new StartError(EXIT.configuration, error.message, { cause: error });
  }
}

/**
 * To root everything that the depot's owner writes would be foreign, and stay on this disk only,
 * unless he is one of `watchedUids`.
 *
 * @throws {StartError} `configuration`
 */
export function refuseUnwatchedOwner(
  depotPath: string,
  watchedUids: readonly number[],
  uid = Deno.uid() ?? 0,
): void {
  const owner = Deno.statSync(depotPath).uid ?? 0;
  if (uid !== 0 || owner === 0 || watchedUids.includes(owner)) return;
  throw refusal(
    depotPath,
    `it belongs to UID ${owner}, and nothing that this user writes would be uploaded by root; ` +
      `run p4-cache as UID ${owner} (\`sudo -u\`), or put ${owner} in watcher_allowed_uids`,
  );
}

/**
 * What to tell where root works in a depot that another user may change: he can put another
 * `.p4cache` in the place of ours while we run, or a link in the place of any directory into
 * which a file is restored. Null if there is nothing to tell.
 */
export function warningOfOwner(depotPath: string, uid = Deno.uid() ?? 0): string | null {
  if (uid !== 0) return null;
  const { uid: owner, mode } = Deno.statSync(depotPath);
  const isOpen = ((mode ?? 0) & OTHERS_MAY_WRITE) !== 0;
  if (owner === 0 && !isOpen) return null;
  const who = owner === 0 ? "who may write in it" : `UID ${owner}, who owns it,`;
  return `this runs as root in the depot ${depotPath}: ${who} can have root write ` +
    `elsewhere; run p4-cache as the user that p4d runs as`;
}

function lstatOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
