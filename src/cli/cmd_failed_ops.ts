/**
 * `p4-cache failed-ops`: what has failed for good or is tried again much later.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { loadConfig } from "../config/load_config.ts";
import { UsageError } from "./command.ts";
import { controlOf } from "./control_client.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
} from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache failed-ops list [--limit N] [--config FILE] [--json]
       p4-cache failed-ops retry [--config FILE] [--dry-run] [--json]

  list              the newest records of p4-cache-failed-ops.log, the oldest of them first;
                    reads the file only, the daemon need not run
  retry             uploads that failed are tried now, and not after slow_retry_secs

  --limit N         how many records (default 50)
${CONFIG_HELP}
  --dry-run         say how many would be tried
  --json            list: the records as they are, one that a crash cut short as
                    {"torn": TEXT}; retry: one object

Exit status: 0 done, 2 usage, 3 could not complete, 77 permission, 78 configuration.
`;

/** As many older files as the daemon keeps. */
const ROTATED_MAX = 10;

export async function runFailedOps(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const [action, ...rest] = args;
  if (action === "list") return await list(rest, deps);
  if (action === "retry") return await retry(rest, deps);
  throw new UsageError("list or retry is wanted");
}

async function list(args: readonly string[], deps: OperatorDeps): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, limit: { type: "string", default: "50" }, json: FLAG },
  });
  const limit = Number(values.limit);
  if (!/^\d{1,9}$/.test(values.limit) || limit === 0) {
    throw new UsageError(`--limit ${values.limit}: a number from 1 is wanted`);
  }
  const { depotPath } = loadConfig(values.config);
  const path = `${depotPath.replace(/\/+$/, "")}/.p4cache/p4-cache-failed-ops.log`;
  const records = await newestLines(path, limit);
  for (const line of records) {
    if (!values.json) deps.print(renderRecord(line));
    else if (isObject(line)) deps.print(line);
    else deps.print(JSON.stringify({ torn: line }));
  }
  if (!values.json && records.length === 0) deps.print("no failed operations");
  return 0;
}

async function newestLines(path: string, limit: number): Promise<string[]> {
  let lines: string[] = [];
  for (let number = 0; number <= ROTATED_MAX && lines.length < limit; number++) {
    try {
      const text = await Deno.readTextFile(number === 0 ? path : `${path}.${number}`);
      lines = [...text.split("\n").filter((line) => line !== ""), ...lines];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) break;
      throw error;
    }
  }
  return lines.slice(-limit);
}

/** False for a line that a crash cut short. */
function isObject(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}

/** A line that a crash cut short, or that says something else, is shown as it is. */
export function renderRecord(line: string): string {
  if (!isObject(line)) return line;
  const { ts, op, path, error } = JSON.parse(line);
  if ([ts, op, path, error].some((member) => member === undefined)) return line;
  return `${ts}  ${op}  ${path}: ${error}`;
}

async function retry(args: readonly string[], deps: OperatorDeps): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, "dry-run": FLAG, "json": FLAG },
  });
  const dryRun = values["dry-run"];
  const client = controlOf(values.config, deps.signal);
  const files = (await client.ask({ op: "retry", dryRun })).count("files");
  if (values.json) deps.print(JSON.stringify({ dryRun, files }));
  else deps.print(`${filesOf(files)} ${dryRun ? "would be" : "are"} tried again now`);
  return 0;
}
