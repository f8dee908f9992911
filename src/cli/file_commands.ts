/**
 * Commands that do one thing to each file that is named: each PATH gets its own line, and
 * one that cannot be done keeps no other from being done.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { UsageError } from "./command.ts";
import { type ControlClient, controlOf } from "./control_client.ts";
import {
  CONFIG_OPTION,
  FLAG,
  type OperatorDeps,
  selectionsOf,
} from "./operator_command.ts";

/** What is to be done, and what of it cannot be named. */
export interface Selected {
  readonly paths: readonly string[];
  readonly problems: readonly string[];
}

export interface FileCommand {
  /** Which files are meant, where that may be more than those that are named. */
  readonly select?: (
    client: ControlClient,
    named: readonly string[] | "all",
  ) => Promise<Selected>;
  readonly op: "undelete" | "accept" | "restore";
  /** What is said of a file that it was done to, and with --dry-run. */
  readonly done: string;
  readonly would: string;
}

export async function runOnFiles(
  args: readonly string[],
  deps: OperatorDeps,
  { select, op, done, would }: FileCommand,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      ...CONFIG_OPTION,
      "dry-run": FLAG,
      "json": FLAG,
      ...select !== undefined && { all: FLAG },
    },
    allowPositionals: true,
  });
  const all = "all" in values && values.all === true;
  if (all && positionals.length > 0) throw new UsageError("--all or PATHs");
  if (!all && positionals.length === 0) throw new UsageError("a PATH is wanted");
  const client = controlOf(values.config, deps.signal);
  const dryRun = values["dry-run"];
  const { paths, problems } = select === undefined
    ? { paths: selectionsOf(positionals, client.config.depotPath), problems: [] }
    : await select(client, all ? "all" : positionals);
  for (const problem of problems) deps.printError(problem);
  let isAllDone = problems.length === 0;
  for (const path of paths) {
    const answer = await client.ask({ op, path, dryRun });
    const isDone = answer.flag("isDone");
    const why = answer.textOrNull("why");
    const keptAs = op === "restore" && isDone ? answer.textOrNull("keptAs") : null;
    isAllDone &&= isDone;
    const shown = displayPath(path);
    if (values.json) {
      deps.print(JSON.stringify({ path: shown, dryRun, done: isDone, why, keptAs }));
    } else if (!isDone) deps.printError(`${shown}: ${why}`);
    else {
      const kept = keptAs === null ? "" : `; the local version is ${displayPath(keptAs)}`;
      deps.print(`${shown}: ${dryRun ? would : done}${kept}`);
    }
  }
  return isAllDone ? 0 : 1;
}
