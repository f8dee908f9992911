/**
 * Why the daemon does not start or go on, with the exit status that says so.
 *
 * @module
 */

/** Exit statuses of every command (docs/cli.md). */
export const EXIT = {
  done: 0,
  findings: 1,
  usage: 2,
  incomplete: 3,
  storeUnavailable: 69,
  bug: 70,
  stateDamaged: 74,
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
