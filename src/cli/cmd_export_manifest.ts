/**
 * `p4-cache export-manifest`: every row as a JSON line on standard output.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { exportLines } from "../manifest/exchange.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { MOVING } from "../manifest/moving.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache export-manifest [--config FILE | --manifest DIR] > FILE

Prints a header, each row, and an end line with their number, as JSON lines
(docs/formats.md). Reads only; safe while the daemon runs.

${PLACE_HELP}

Exit status: 0 done, 2 usage, 3 there is no manifest, 74 it is damaged, 78 configuration.
`;

/** Who takes the rows does not get the record that some of them are still to be renamed. */
function refuseHalfMoved(manifest: Manifest): void {
  if (manifest.meta(MOVING) === null) return;
  throw new ManifestError(
    "unavailable",
    "Cannot export the manifest: the rename of a directory has begun in it and not ended; " +
      "start the daemon once, which finishes it",
  );
}

export function runExportManifest(
  args: readonly string[],
  deps: ManifestCommandDeps,
): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: PLACE_OPTIONS });
  return reporting("export-manifest", deps, async () => {
    const directory = manifestDirectory(values);
    const manifest = await deps.openManifest({ directory, readOnly: true });
    try {
      refuseHalfMoved(manifest);
      for await (const line of exportLines(manifest)) deps.print(line);
      return 0;
    } finally {
      await manifest.close();
    }
  });
}
