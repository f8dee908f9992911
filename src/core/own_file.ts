/**
 * Opens files of ours for writing under names that somebody else may have put something at: a
 * symbolic link, or another file's second name, is refused before anything is made or changed.
 *
 * Deno has no O_NOFOLLOW. A missing file is made with O_EXCL, which follows no link; of one
 * that is there, what was opened must be the inode that had the name before.
 *
 * @module
 */

/** What has the name is no file of ours. */
export class OwnFileError extends Error {
  override readonly name = "OwnFileError";
}

/** How often the name may change hands while it is opened. */
const ATTEMPTS_MAX = 5;

export interface OwnFileOptions {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly append?: boolean;
  /** Of the file, where it is made. */
  readonly mode: number;
}

/** Makes the file unless it is there. @throws {OwnFileError}, or the file system's error. */
export function openOwnFile(path: string, options: OwnFileOptions): Deno.FsFile {
  for (let attempt = 1;; attempt++) {
    const file = openOnce(path, options);
    if (file !== null) return file;
    if (attempt === ATTEMPTS_MAX) {
      throw new OwnFileError(`Cannot use ${path}: somebody changes what has the name`);
    }
  }
}

/** Null if the name had another file, or one or none, a moment later. */
function openOnce(path: string, { mode, ...how }: OwnFileOptions): Deno.FsFile | null {
  const before = lstatOrNull(path);
  if (before !== null) refuseOthers(path, before);
  let file: Deno.FsFile;
  try {
    file = before === null
      ? Deno.openSync(path, { ...how, createNew: true, mode })
      : Deno.openSync(path, how);
  } catch (error) {
    const isGone = before !== null && error instanceof Deno.errors.NotFound;
    const isMade = before === null && error instanceof Deno.errors.AlreadyExists;
    if (isGone || isMade) return null;
    throw error;
  }
  const opened = file.statSync();
  if (before === null || (opened.ino === before.ino && opened.dev === before.dev)) {
    return file;
  }
  file.close();
  return null;
}

function refuseOthers(path: string, info: Deno.FileInfo): void {
  const fault = info.isSymlink
    ? "it is a symbolic link"
    : !info.isFile
    ? "it is no regular file"
    // Who has less rights than we could have us change a file that is not his.
    : Deno.uid() === 0 && (info.nlink ?? 1) > 1
    ? "the file has a second name elsewhere"
    : null;
  if (fault === null) return;
  throw new OwnFileError(
    `Cannot use ${path}: ${fault}, and what is written to it would go there; find out who ` +
      "put it there, and remove it",
  );
}

function lstatOrNull(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
