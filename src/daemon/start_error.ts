/**
 * Why the daemon does not start or go on, with the exit status that says so.
 *
 * @module
 */

import { HelperError } from "../wire/helper_process.ts";

/** Exit statuses of every command (docs/cli.md). */
export const EXIT = {
  done: 0,
  findings: 1,
  usage: 2,
  incomplete: 3,
  storeUnavailable: 69,
  bug: 70,
  stateDamaged: 74,
  /** What the next attempt may not meet: no memory, no descriptors, a helper that was killed. */
  temporary: 75,
  denied: 77,
  configuration: 78,
} as const;

export type ExitStatus = typeof EXIT[keyof typeof EXIT];

/** Printed as one line: what, where, what to do. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly status: ExitStatus;

  constructor(status: ExitStatus, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/**
 * Of a helper that cannot work, as {@linkcode StartError}: the service manager tries again what a
 * person need not mend. Other errors are thrown on.
 */
export function startErrorOf(what: string, error: unknown): StartError {
  if (!(error instanceof HelperError)) throw error;
  const status = error.isDenied
    ? EXIT.denied
    // Something is in the way, or the helper is of another version.
    : error.code === "EEXIST" || error.fault === "garbled"
    ? EXIT.configuration
    : EXIT.temporary;
  return new StartError(status, `${what}: ${error.message}`, { cause: error });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
