/**
 * Commands that do one thing to each file that is named: each PATH gets its own line, and
 * one that cannot be done keeps no other from being done.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { controlOf } from "./control_client.ts";
import {
  CONFIG_OPTION,
  FLAG,
  type OperatorDeps,
  selectionsOf,
} from "./operator_command.ts";

export interface FileCommand {
  readonly op: "undelete" | "accept" | "restore";
  /** What is said of a file that it was done to, and with --dry-run. */
  readonly done: string;
  readonly would: string;
}

export async function runOnFiles(
  args: readonly string[],
  deps: OperatorDeps,
  { op, done, would }: FileCommand,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, "dry-run": FLAG, "json": FLAG },
    allowPositionals: true,
  });
  const client = controlOf(values.config, deps.signal);
  const dryRun = values["dry-run"];
  let isAllDone = true;
  for (const path of selectionsOf(positionals, client.config.depotPath)) {
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
