/**
 * `p4-cache conflicts`: files of which two versions exist, and somebody has to say which one
 * is the file.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import type { Members } from "../wire/json_lines.ts";
import { UsageError } from "./command.ts";
import { controlOf } from "./control_client.ts";
import { runOnFiles } from "./file_commands.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  FLAG,
  type OperatorDeps,
} from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache conflicts list [--config FILE] [--json]
       p4-cache conflicts accept PATH ... [--config FILE] [--dry-run] [--json]
       p4-cache conflicts restore PATH ... [--config FILE] [--dry-run] [--json]

A file is in conflict when it differs from what was stored and nobody reported a write, and
foreign when a user wrote it who may not. It stays local and is not uploaded until it is
decided:

  accept            the local file is the newest version, and is uploaded; the stored one
                    stays in the store for delete_grace_secs, as any replaced version
  restore           the stored version is the file again; the local one is moved to
                    .p4cache/lost+found, where it stays until somebody removes it

${CONFIG_HELP}
  --dry-run         say whether it could be done
  --json            objects, as docs/cli.md describes them

Exit status: 0 done (list: there are none), 1 some could not be (list: there are some),
2 usage, 3 could not complete, 69 store unavailable, 77 permission, 78 configuration.
`;

export async function runConflicts(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const [action, ...rest] = args;
  switch (action) {
    case "list":
      return await list(rest, deps);
    case "accept":
      return await runOnFiles(rest, deps, {
        op: "accept",
        done: "accepted, to be uploaded",
        would: "could be accepted",
      });
    case "restore":
      return await runOnFiles(rest, deps, {
        op: "restore",
        done: "the stored version is back, evicted",
        would: "could be restored",
      });
    default:
      throw new UsageError("list, accept or restore is wanted");
  }
}

async function list(args: readonly string[], deps: OperatorDeps): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, json: FLAG },
  });
  const client = controlOf(values.config, deps.signal);
  let count = 0;
  for (let cursor: string | null = null;;) {
    const page: Members = await client.ask({ op: "conflicts", cursor });
    for (const item of page.items("items")) {
      count += 1;
      deps.print(values.json ? jsonOf(item) : lineOf(item));
    }
    cursor = page.textOrNull("next");
    if (cursor === null) break;
  }
  if (!values.json && count === 0) deps.print("no conflicts");
  return count === 0 ? 0 : 1;
}

function lineOf(item: Members): string {
  const size = (name: string): string => {
    const bytes = item.countOrNull(name);
    return bytes === null ? "none" : formatBytes(bytes);
  };
  return `${item.text("kind").padEnd(8)}  local ${size("localBytes")}, stored ${
    size("storedBytes")
  }  ${pathOf(item)}`;
}

function pathOf(item: Members): string {
  return displayPath(item.text("path")) + (item.flag("isCut") ? "..." : "");
}

function jsonOf(item: Members): string {
  return JSON.stringify({
    path: displayPath(item.text("path")),
    isCut: item.flag("isCut"),
    kind: item.text("kind"),
    localBytes: item.countOrNull("localBytes"),
    localMtimeMs: item.countOrNull("localMtimeMs"),
    storedBytes: item.countOrNull("storedBytes"),
    storedMtimeMs: item.countOrNull("storedMtimeMs"),
  });
}
