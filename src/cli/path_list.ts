/**
 * Files that list paths, one a line, one character per byte.
 *
 * @module
 */

import { textOfBytes } from "../core/names.ts";
import { UsageError } from "./command.ts";

/** Far above any path. A "line" beyond it means that the file is no list. */
const LINE_BYTES_MAX = 65_536;

/**
 * The lines of `path`, or of standard input for `-`, without empty ones, in bounded memory.
 *
 * @throws {UsageError} If there is no such file, or it is no list.
 */
export async function* linesOfFile(path: string): AsyncGenerator<string> {
  const source = path === "-" ? Deno.stdin : await openList(path);
  const buffer = new Uint8Array(LINE_BYTES_MAX);
  let held = "";
  try {
    for (;;) {
      const count = await source.read(buffer);
      if (count === null) break;
      const lines = (held + textOfBytes(buffer.subarray(0, count))).split("\n");
      held = lines.pop()!;
      for (const line of lines) if (line.trim() !== "") yield line;
      if (held.length > LINE_BYTES_MAX) {
        throw new UsageError(`${path} is no list of paths`);
      }
    }
    if (held.trim() !== "") yield held;
  } finally {
    if (path !== "-") source.close();
  }
}

async function openList(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    throw new UsageError(`Cannot read the list ${path}: ${(error as Error).message}`);
  }
}
