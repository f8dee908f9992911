/**
 * `p4-cache drain`: has the store everything?
 *
 * @module
 */

import { parseArgs } from "node:util";
import { formatBytes } from "../core/units.ts";
import type { Members } from "../wire/json_lines.ts";
import { controlOf } from "./control_client.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
} from "./operator_command.ts";
import { ProgressLine } from "./progress_line.ts";

export const HELP = `\
Usage: p4-cache drain [--wait] [--config FILE] [--json]

Says whether the store has everything, within seconds; where that cannot be told (no scan was
whole, one for lost events is due, or the watcher is late), it has not. With --wait it is a barrier: it returns when every
file that was written before it began is uploaded, and failed uploads are tried at once; it
gives up when what is left waits for a retry or for a decision. The store does not have what
is in conflict or foreign (p4-cache conflicts list): while there is any, it is not drained.
Files of which only the ctime is another since they were stored (a chmod, or a repair that kept
the time) are hashed first, which reads them.

  --wait            wait for the uploads
${CONFIG_HELP}
  --json            one object, as docs/cli.md describes it

Exit status: 0 the store has it all, 1 something is left, 2 usage, 3 could not complete,
77 permission, 78 configuration.
`;

export async function runDrain(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, wait: FLAG, json: FLAG },
  });
  const progress = new ProgressLine({
    verb: "drain",
    unit: "files",
    clock: deps.clock,
    isTerminal: deps.isTerminal,
    write: deps.writeError,
  });
  const client = controlOf(values.config, deps.signal);
  const state = await client.ask(
    { op: "drain", wait: values.wait },
    (done, total) => progress.update(done, total),
  );
  progress.clear();
  const isDrained = state.flag("isDrained");
  if (values.json) deps.print(JSON.stringify(state.object));
  else if (isDrained) deps.print("drained");
  else deps.print(leftOf(state, values.wait));
  return isDrained ? 0 : 1;
}

function leftOf(state: Members, hasWaited: boolean): string {
  const uploads = `${filesOf(state.count("dirtyFiles"))}, ` +
    `${formatBytes(state.count("dirtyBytes"))} not uploaded; ` +
    `${filesOf(state.count("retryingFiles"))} wait for a retry, ` +
    `${filesOf(state.count("undecidedFiles"))} for a decision`;
  const unproven = state.countOrNull("unprovenFiles");
  if (unproven === null) {
    return `${uploads}; nobody knows whether that is all: no scan has looked at the whole ` +
      "depot, or the watcher is late: see p4-cache status";
  }
  if (unproven === 0) return uploads;
  const why = hasWaited
    ? "they cannot be read, or a scan failed: see the daemon's log"
    : "--wait hashes them";
  return `${uploads}; ${
    filesOf(unproven)
  } may have changed without a newer mtime (${why})`;
}
