/**
 * What the commands about the manifest are given in the real program.
 *
 * @module
 */

import { checkManifest } from "../manifest/check_manifest.ts";
import { openManifest } from "../manifest/lmdb_manifest.ts";
import type { CommandOutput } from "./command.ts";
import { type ImportManifestDeps } from "./cmd_import_manifest.ts";
import { type RebuildManifestDeps } from "./cmd_rebuild_manifest.ts";
import { depotAround, openLocalPosix, openRebuildSides } from "./sources.ts";

export type AllManifestDeps = RebuildManifestDeps & ImportManifestDeps;

export function manifestDeps(output: CommandOutput): AllManifestDeps {
  let signal: AbortSignal | null = null;
  return {
    ...output,
    openManifest: (options) =>
      openManifest(options.readOnly ? { native: openLocalPosix(), ...options } : options),
    nowMs: () => Date.now(),
    checkManifest,
    openSides: openRebuildSides,
    readLines,
    depotAround,
    // The others Ctrl-C ends at once: only who asks for it looks at it.
    get signal(): AbortSignal {
      return signal ??= abortOnInterrupt();
    },
  };
}

/** Ctrl-C ends long work between two steps. */
export function abortOnInterrupt(): AbortSignal {
  const controller = new AbortController();
  Deno.addSignalListener("SIGINT", () => controller.abort(new Error("interrupted")));
  return controller.signal;
}

async function* readLines(path: string): AsyncGenerator<string> {
  using file = await Deno.open(path);
  let rest = "";
  for await (const text of file.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}
