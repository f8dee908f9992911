/**
 * The one error of src/wire/: a line that is not of its format.
 *
 * @module
 */

/** A helper and the daemon are of different builds, or something else wrote into the pipe. */
export class WireError extends Error {
  override readonly name = "WireError";

  constructor(line: string, why: string) {
    super(`Cannot read the line ${JSON.stringify(line.slice(0, 200))}: ${why}`);
  }
}
