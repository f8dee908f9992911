/**
 * `p4-cache manifest-summary`: what the manifest holds, in numbers.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { renderSummary, summarizeManifest } from "../manifest/summary.ts";
import { UsageError } from "./command.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache manifest-summary [--config FILE | --manifest DIR] [--top N] [--depth N]
                                 [--json]

Files and bytes by state, residence and directory, the dirty queue and its retries, and
the age of what may be evicted, all as it is at one moment. Reads only; safe while the
daemon runs.

${PLACE_HELP}
  --top N           how many directories to show (default 10)
  --depth N         how many leading components make a directory (default 2)
  --json            one object, as docs/formats.md describes it

Exit status: 0 done, 2 usage, 3 there is no manifest, 74 it is damaged, 78 configuration.
`;

export function runManifestSummary(
  args: readonly string[],
  deps: ManifestCommandDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...PLACE_OPTIONS,
      top: { type: "string", default: "10" },
      depth: { type: "string", default: "2" },
      json: { type: "boolean", default: false },
    },
  });
  const top = countOf("--top", values.top);
  const depth = countOf("--depth", values.depth);
  return reporting("manifest-summary", deps, async () => {
    const directory = manifestDirectory(values);
    const manifest = await deps.openManifest({ directory, readOnly: true });
    try {
      const nowMs = deps.nowMs();
      const summary = await summarizeManifest(manifest, { nowMs, top, depth });
      if (values.json) deps.print(JSON.stringify(summary));
      else for (const line of renderSummary(summary)) deps.print(line);
      return 0;
    } finally {
      await manifest.close();
    }
  });
}

function countOf(option: string, text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > 1_000_000) {
    throw new UsageError(`${option} ${text}: a number from 1 to 1000000 is wanted`);
  }
  return count;
}
