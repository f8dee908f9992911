/**
 * Assertions for mistakes in our own code.
 *
 * An assertion says "no input, disk or network can make this false". If one fails the
 * program is wrong, and carrying on could upload or delete the wrong bytes, so nothing
 * below the daemon's top level may catch InvariantError. Conditions that the outside
 * world can cause are errors, not assertions.
 *
 * @module
 */

/** A bug in this program. Ends the process; never retried. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Throws {@linkcode InvariantError} unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** Marks a switch as exhaustive: adding a case upstream becomes a type error here. */
export function unreachable(value: never): never {
  throw new InvariantError(`Unreachable value: ${JSON.stringify(value)}`);
}
