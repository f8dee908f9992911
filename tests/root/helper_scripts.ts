/**
 * Programs that start a helper in some other way than the daemon does: as another user,
 * without a capability, with its pid told.
 *
 * @module
 */

import { fromFileUrl } from "./files.ts";

const BUILD = Deno.env.get("P4CACHE_LIB") ?? fromFileUrl("../../build", import.meta.url);

/** The path of a helper that `make native` built. */
export function helperPath(name: string): string {
  return `${BUILD}/${name}`;
}

/**
 * Writes a program into `directory` that becomes `name`, in the way that the shell line
 * `start` says; in it `"$helper"` is the real one, and `"$@"` its arguments.
 */
export async function scriptFor(
  directory: string,
  name: string,
  start: string,
): Promise<string> {
  const path = `${directory}/start-${name}`;
  const text = `#!/bin/sh\nhelper='${helperPath(name)}'\n${start}\n`;
  await Deno.writeTextFile(path, text, { mode: 0o755 });
  return path;
}
