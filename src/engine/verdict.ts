/**
 * What becomes of an operator's command on one file: done, or why it is not. A reason is an
 * answer and not an error: nothing was changed.
 *
 * @module
 */

export type Verdict =
  | { readonly isDone: true }
  | { readonly isDone: false; readonly why: string };

export const DONE: Verdict = { isDone: true };

/** Of files whose names no row can have. */
export const NO_ROW =
  "the path is over 3,900 bytes or has a line feed in it: it cannot be managed, stays on the " +
  "disk, and HAS NO COPY IN THE STORE";

/** Its marker would be in the way of what others make there, and p4d would not ask for it. */
export const NOT_MANAGED = "its name is not managed: see manage in the configuration";

export function refused(why: string): Verdict {
  return { isDone: false, why };
}
