/**
 * The ctime of a row whose file has the inode, size and mtime that it had, but another ctime, of
 * a change that nobody reported: a chmod, or a write whose mtime was put back. Only a hash tells
 * them apart, and a chmod of millions of files is not to be millions of hashes. So the row has the
 * complement of the file's ctime, which a scan knows again, and which equals no file's own: who
 * is about to let the local bytes go finds that they differ, and hashes first.
 *
 * @module
 */

import type { LocalStat } from "./manifest.ts";

/** The same stat, as of a file that nobody has hashed since its ctime changed. */
export function asUnproven<S extends Pick<LocalStat, "ctimeNs">>(stat: S): S {
  return { ...stat, ctimeNs: ~stat.ctimeNs };
}

/** Kernels give times since 1970: the complement of each is negative. */
export function isUnproven({ ctimeNs }: Pick<LocalStat, "ctimeNs">): boolean {
  return ctimeNs < 0n;
}

/** The ctime that the file itself has. */
export function changedAtNs(stat: Pick<LocalStat, "ctimeNs">): bigint {
  return isUnproven(stat) ? ~stat.ctimeNs : stat.ctimeNs;
}
