/**
 * `p4-cache evict`: evicts by hand what nothing speaks against.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import type { Members } from "../wire/json_lines.ts";
import { UsageError } from "./command.ts";
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
import { ProgressLine } from "./progress_line.ts";

export const HELP = `\
Usage: p4-cache evict (--all | PATH ...) [--config FILE] [--dry-run] [--json]

Evicts files now, whatever the limits of the cache: each one that is uploaded, not pinned,
not open for writing, older than 5 seconds, and shown by the store. The others stay, and
are counted with the reason.

${PATH_HELP}

  --all             every file
${CONFIG_HELP}
  --dry-run         say what would go, as far as the manifest can tell
  --json            one object, as docs/cli.md describes it

Exit status: 0 nothing of it is left on the disk, 1 some stay, 2 usage, 3 could not
complete, 77 permission, 78 configuration.
`;

/** The members of the answer that say why files stay, in the order in which they are shown. */
const KEPT = [
  ["keptDirty", "not uploaded yet"],
  ["keptUndecided", "in conflict or foreign"],
  ["keptPinned", "pinned"],
  ["keptUnmanaged", "of a name that is not managed"],
  ["keptFarTime", "of a time that a restore could not give back"],
  ["keptYoung", "younger than 5 s"],
  ["keptBusy", "open for writing"],
  ["keptChanged", "changed just now"],
  ["keptLinked", "with more than one name"],
  ["keptUnconfirmed", "not shown by the store"],
] as const;

const SUMS = ["files", "evictedFiles", "evictedBytes", "alreadyFiles"] as const;

type Sum = typeof SUMS[number] | typeof KEPT[number][0];

export async function runEvict(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, "all": FLAG, "dry-run": FLAG, "json": FLAG },
    allowPositionals: true,
  });
  if (values.all && positionals.length > 0) throw new UsageError("--all or PATHs");
  const client = controlOf(values.config, deps.signal);
  const selections = values.all
    ? [""]
    : selectionsOf(positionals, client.config.depotPath);
  const total = new Map<Sum, number>();
  const unknown: string[] = [];
  const progress = new ProgressLine({
    verb: "evict",
    unit: "files",
    clock: deps.clock,
    isTerminal: deps.isTerminal,
    write: deps.writeError,
  });
  for (const selection of selections) {
    const request = { op: "evict", selection, dryRun: values["dry-run"] } as const;
    const report = await client.ask(request, (done, all) => progress.update(done, all));
    if (report.count("files") === 0 && selection !== "") unknown.push(selection);
    addUp(total, report);
  }
  progress.clear();
  const dryRun = values["dry-run"];
  if (values.json) deps.print(JSON.stringify({ dryRun, ...Object.fromEntries(total) }));
  else for (const line of renderEviction(total, dryRun)) deps.print(line);
  for (const path of unknown) deps.printError(`${displayPath(path)}: no such file`);
  return unknown.length === 0 && keptOf(total) === 0 ? 0 : 1;
}

function addUp(total: Map<Sum, number>, report: Members): void {
  for (const name of [...SUMS, ...KEPT.map(([it]) => it)]) {
    total.set(name, (total.get(name) ?? 0) + report.count(name));
  }
}

function keptOf(total: ReadonlyMap<Sum, number>): number {
  return KEPT.reduce((sum, [name]) => sum + total.get(name)!, 0);
}

function renderEviction(total: ReadonlyMap<Sum, number>, dryRun: boolean): string[] {
  const already = total.get("alreadyFiles")!;
  const lines = [
    `${dryRun ? "would evict" : "evicted"} ${filesOf(total.get("evictedFiles")!)}, ` +
    formatBytes(total.get("evictedBytes")!) +
    (already === 0 ? "" : `; ${filesOf(already)} evicted before`),
  ];
  for (const [name, why] of KEPT) {
    const count = total.get(name)!;
    if (count > 0) lines.push(`kept ${filesOf(count)}: ${why}`);
  }
  return lines;
}
