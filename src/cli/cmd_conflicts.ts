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
import { type ControlClient, controlOf } from "./control_client.ts";
import { runOnFiles, type Selected } from "./file_commands.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
  selectionsOf,
} from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache conflicts list [--config FILE] [--json]
       p4-cache conflicts accept (--all | PATH ...) [--config FILE] [--dry-run] [--json]
       p4-cache conflicts restore (--all | PATH ...) [--config FILE] [--dry-run] [--json]

A file is in conflict when it differs from what was stored and nobody reported a write, and
foreign when a user wrote it who may not. It stays local and is not uploaded until it is
decided:

  accept            the local file is the newest version, and is uploaded; the stored one
                    stays in the store for delete_grace_secs, as any replaced version
  restore           the stored version is the file again; the local one is moved to
                    .p4cache/lost+found, where it stays until somebody removes it; each
                    stored version is read whole before, also with --dry-run

A PATH is a file of the depot, or DIR/ or DIR/... for every file below that is listed,
absolute or relative to the depot. \\xNN in it is the byte NN, \\x5c a backslash: as names
are shown.

  --all             every file that is in conflict; none that is foreign
${CONFIG_HELP}
  --dry-run         say whether it could be done
  --json            objects, as docs/cli.md describes them

Exit status: 0 done (list: there are none), 1 some could not be, --all left what is
foreign, or nothing is listed below a DIR (list: there are some), 2 usage, 3 could not
complete, 69 store unavailable, 77 permission, 78 configuration.
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
        select: undecided,
        op: "accept",
        done: "accepted, to be uploaded",
        would: "could be accepted",
      });
    case "restore":
      return await runOnFiles(rest, deps, {
        select: undecided,
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
  let count = 0;
  for await (const item of listed(controlOf(values.config, deps.signal))) {
    count += 1;
    deps.print(values.json ? jsonOf(item) : lineOf(item));
  }
  if (!values.json && count === 0) deps.print("no conflicts");
  return count === 0 ? 0 : 1;
}

async function* listed(client: ControlClient): AsyncGenerator<Members> {
  for (let cursor: string | null = null;;) {
    const page: Members = await client.ask({ op: "conflicts", cursor });
    yield* page.items("items");
    cursor = page.textOrNull("next");
    if (cursor === null) return;
  }
}

/** Each PATH that is a file, and what the daemon lists below each that is a directory. */
async function undecided(
  client: ControlClient,
  named: readonly string[] | "all",
): Promise<Selected> {
  const root = client.config.depotPath;
  const isDirectory = (argument: string): boolean => /\/(?:\.\.\.)?$/.test(argument);
  const [directories, files] = named === "all" ? [[], []] : [
    named.filter(isDirectory),
    named.filter((argument) => !isDirectory(argument)),
  ];
  const paths = files.length > 0 ? selectionsOf(files, root) : [];
  const prefixes = directories.length > 0
    ? selectionsOf(directories, root).map((selection) => `${selection}/`)
    : [];
  const problems: string[] = [];
  if (named !== "all" && prefixes.length === 0) return { paths, problems };
  const empty = new Set(prefixes);
  let foreignFiles = 0;
  for await (const item of listed(client)) {
    const path = item.text("path");
    const above = prefixes.filter((prefix) => path.startsWith(prefix));
    for (const prefix of above) empty.delete(prefix);
    // What a user did who may not is looked at file by file, or directory by directory.
    const isForeign = named === "all" && item.text("kind") !== "conflict";
    if (isForeign) foreignFiles += 1;
    if (isForeign || (named !== "all" && above.length === 0)) continue;
    if (item.flag("isCut")) problems.push(`${pathOf(item)}: too long: name it whole`);
    else paths.push(path);
  }
  for (const prefix of empty) {
    problems.push(`${displayPath(prefix)}: nothing below it is listed`);
  }
  if (foreignFiles > 0) {
    problems.push(`left, being foreign: ${filesOf(foreignFiles)}; name them to decide`);
  }
  return { paths: [...new Set(paths)], problems };
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
