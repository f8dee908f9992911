/**
 * `p4-cache import-manifest`: rows from JSON lines, of an export or of another system.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { DepotPath } from "../core/names.ts";
import { firstKey } from "../engine/engine_context.ts";
import { ImportError } from "../manifest/import_line.ts";
import { importLines, type ImportOptions } from "../manifest/import_lines.ts";
import type { LocalThing } from "../manifest/rebuild_sides.ts";
import { UsageError } from "./command.ts";
import {
  manageOf,
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
A file or marker that lies in the depot as its row says is known by it; what does not, or
where the manifest is not at DEPOT/.p4cache/manifest, the first scan compares.
A line whose name is not managed is left out and counted; with --manifest, where no
configuration says what is managed, only the server's own files are. The daemon must not
run.

${PLACE_HELP}
  --dry-run         check every line, change nothing

Exit status: 0 done, 1 a line cannot be imported (those before it are) or was left out, 2 usage,
3 the daemon runs or FILE cannot be read, 74 the manifest is damaged, 78 configuration.
`;

export interface ImportManifestDeps extends ManifestCommandDeps {
  /** The lines of a file. @throws {Deno.errors.NotFound | Deno.errors.PermissionDenied} */
  readLines(path: string): AsyncIterable<string>;
  /** Looks into the depot that a manifest is in. */
  depotAround(manifestDirectory: string): (path: DepotPath) => LocalThing | null;
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
      () =>
        importInto({ directory, file }, {
          dryRun: values["dry-run"],
          manage: manageOf(values),
        }, deps),
    );
  });
}

async function importInto(
  { directory, file }: { readonly directory: string; readonly file: string },
  { dryRun, manage }: Pick<ImportOptions, "dryRun" | "manage">,
  deps: ImportManifestDeps,
): Promise<number> {
  const manifest = await deps.openManifest({ directory, readOnly: false });
  try {
    // The daemon does it at its start, and would take along what is added now.
    if (!dryRun) await manifest.finishMove({ firstKey });
    const nowS = Math.floor(deps.nowMs() / 1000);
    const lines = deps.readLines(file);
    const look = deps.depotAround(directory);
    const result = await importLines(manifest, lines, { dryRun, nowS, manage, look });
    const { imported, kept, unmanaged, firstUnmanagedLine } = result;
    const verb = dryRun ? "would be imported" : "imported";
    deps.print(`${file}: ${imported} rows ${verb}, ${kept} paths have a row already`);
    if (unmanaged === 0) return 0;
    deps.printError(
      `p4-cache import-manifest: ${file}: ${unmanaged} lines left out, the first is ` +
        `${firstUnmanagedLine}: their names are not managed`,
    );
    return 1;
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
