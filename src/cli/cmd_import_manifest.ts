/**
 * `p4-cache import-manifest`: rows from JSON lines, of an export or of another system.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { ImportError, importLines } from "../manifest/exchange.ts";
import { UsageError } from "./command.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
  withDaemonLock,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache import-manifest [--config FILE | --manifest DIR] [--dry-run] FILE

Adds the rows of FILE (JSON lines, docs/formats.md) to the manifest, which is made if
there is none. A path that has a row keeps it, so a stopped import is simply run again.
The daemon must not run.

${PLACE_HELP}
  --dry-run         check every line, change nothing

Exit status: 0 done, 1 a line cannot be imported (those before it are), 2 usage,
3 the daemon runs or FILE cannot be read, 74 the manifest is damaged, 78 configuration.
`;

export interface ImportManifestDeps extends ManifestCommandDeps {
  /** The lines of a file. @throws {Deno.errors.NotFound | Deno.errors.PermissionDenied} */
  readLines(path: string): AsyncIterable<string>;
}

export function runImportManifest(
  args: readonly string[],
  deps: ImportManifestDeps,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { ...PLACE_OPTIONS, "dry-run": { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) {
    throw new UsageError("one file of JSON lines is wanted");
  }
  return reporting("import-manifest", deps, () => {
    const directory = manifestDirectory(values);
    return withDaemonLock(
      directory,
      () => importInto(directory, file, values["dry-run"], deps),
    );
  });
}

async function importInto(
  directory: string,
  file: string,
  dryRun: boolean,
  deps: ImportManifestDeps,
): Promise<number> {
  const manifest = await deps.openManifest({ directory, readOnly: false });
  try {
    const nowS = Math.floor(deps.nowMs() / 1000);
    const lines = deps.readLines(file);
    const { imported, kept } = await importLines(manifest, lines, { dryRun, nowS });
    const verb = dryRun ? "would be imported" : "imported";
    deps.print(`${file}: ${imported} rows ${verb}, ${kept} paths have a row already`);
    return 0;
  } catch (error) {
    const isFile = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied;
    if (!isFile && !(error instanceof ImportError)) throw error;
    deps.printError(`p4-cache import-manifest: ${file}: ${error.message}`);
    return isFile ? 3 : 1;
  } finally {
    await manifest.close();
  }
}
