/**
 * `p4-cache pin` and `p4-cache unpin`: files that are never evicted.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import { controlOf } from "./control_client.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
  PATH_HELP,
  selectionsOf,
} from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache pin PATH ... [--config FILE] [--dry-run] [--json]
       p4-cache unpin PATH ... [--config FILE] [--dry-run] [--json]

Keeps files on the local disk, also in their later versions, until they are unpinned. Files
that are made later are not pinned by an earlier pin of their directory. A pinned file that
is evicted comes back when it is read: see p4-cache rehydrate --prefix.

${PATH_HELP}

${CONFIG_HELP}
  --dry-run         say what would change
  --json            one object, as docs/cli.md describes it

Exit status: 0 done, 1 a PATH has no file, 2 usage, 3 could not complete, 77 permission,
78 configuration.
`;

export async function runPin(
  args: readonly string[],
  deps: OperatorDeps,
  pinned: boolean,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, "dry-run": FLAG, "json": FLAG },
    allowPositionals: true,
  });
  const client = controlOf(values.config, deps.signal);
  const total = { files: 0, changed: 0, evicted: 0, bytes: 0 };
  const unknown: string[] = [];
  const dryRun = values["dry-run"];
  for (const selection of selectionsOf(positionals, client.config.depotPath)) {
    const report = await client.ask({ op: "pin", selection, pinned, dryRun });
    if (report.count("files") === 0) unknown.push(selection);
    for (const name of ["files", "changed", "evicted", "bytes"] as const) {
      total[name] += report.count(name);
    }
  }
  if (values.json) deps.print(JSON.stringify({ pinned, dryRun, ...total }));
  else deps.print(renderPin(total, pinned, dryRun));
  for (const path of unknown) deps.printError(`${displayPath(path)}: no such file`);
  return unknown.length === 0 ? 0 : 1;
}

function renderPin(
  total: { files: number; changed: number; evicted: number; bytes: number },
  pinned: boolean,
  dryRun: boolean,
): string {
  const verb = `${dryRun ? "would be " : ""}${pinned ? "pinned" : "unpinned"}`;
  const evicted = pinned && total.evicted > 0
    ? `; ${filesOf(total.evicted)} evicted: back when read`
    : "";
  return `${filesOf(total.files)}, ${formatBytes(total.bytes)} ${verb} ` +
    `(${total.changed} changed)${evicted}`;
}
