/**
 * The one error of src/posix/.
 *
 * @module
 */

import { type BytePath, displayPath } from "../core/names.ts";
import { errnoName } from "./errno.ts";

/** A system call failed. `path` is empty for calls on a descriptor. */
export class PosixError extends Error {
  override readonly name = "PosixError";
  /** Such as `ENOENT`. */
  readonly code: string;
  readonly errno: number;
  readonly op: string;
  readonly path: BytePath;

  constructor(op: string, path: BytePath, errno: number) {
    const code = errnoName(errno);
    super(
      path === ""
        ? `Cannot ${op}: ${code}`
        : `Cannot ${op} "${displayPath(path)}": ${code}`,
    );
    this.code = code;
    this.errno = errno;
    this.op = op;
    this.path = path;
  }
}
