/**
 * What follows from a directory that a walk of the depot cannot list, or a name that it cannot look
 * at, by the kernel's word for it.
 *
 * @module
 */

import type { BytePath } from "./names.ts";

interface Failed {
  /** Such as `EACCES`. */
  readonly code: string;
}

/** In the root of a file system of the ext family: of `fsck`, and only root may list it. */
const FSCK_DIRECTORY = "lost+found";

export function isForbidden({ code }: Failed): boolean {
  return code === "EACCES" || code === "EPERM";
}

/** Renamed or removed meanwhile. */
export function isGone({ code }: Failed): boolean {
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Whether the markers of evicted files may be there, unseen. */
export function mayHideMarkers(
  { path, code }: Failed & { readonly path: BytePath },
): boolean {
  return !isGone({ code }) && !(path === FSCK_DIRECTORY && isForbidden({ code }));
}
