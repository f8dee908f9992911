/**
 * `p4-cache export-manifest`: every row as a JSON line on standard output.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { exportLines } from "../manifest/exchange.ts";
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
(docs/formats.md), all as it is at one moment. Reads only; safe while the daemon runs,
whose manifest grows until the last line is taken: let it write to a file.

${PLACE_HELP}

Exit status: 0 done, 2 usage, 3 there is no manifest or a directory's rename has begun in
it and not ended, 74 it is damaged, 78 configuration.
`;

export function runExportManifest(
  args: readonly string[],
  deps: ManifestCommandDeps,
): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: PLACE_OPTIONS });
  return reporting("export-manifest", deps, async () => {
    const directory = manifestDirectory(values);
    const manifest = await deps.openManifest({ directory, readOnly: true });
    try {
      for await (const line of exportLines(manifest)) deps.print(line);
      return 0;
    } finally {
      await manifest.close();
    }
  });
}
