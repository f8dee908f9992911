/**
 * `p4-cache migrate`: copies to the primary store what only the secondary has.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { Config } from "../config/key_table.ts";
import { loadConfig } from "../config/load_config.ts";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import type { OfflineMigration } from "../daemon/migrate.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import { openLogger } from "../obs/logger.ts";
import { BUILD } from "./build_info.ts";
import { restartWithoutShim, withNativeParts } from "./cmd_run.ts";
import { UsageError } from "./command.ts";
import { type ControlClient, controlOf, isNobodyThere } from "./control_client.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  FLAG,
  type OperatorDeps,
  PATH_HELP,
  selectionOfBytes,
  selectionsOf,
} from "./operator_command.ts";
import { linesOfFile } from "./path_list.ts";
import { ProgressLine } from "./progress_line.ts";

export const HELP = `\
Usage: p4-cache migrate (--all | --list FILE | PATH ...) [--config FILE] [--dry-run] [--json]
                        [--quiet]

Copies every object that the manifest names and the primary store does not have from the
secondary store to the primary one. Each copy is checked against the hash in the manifest,
put only if its key is free, and looked at again afterwards; the secondary is left as it is.
The running daemon does the work, or, while none runs, this command in its place. It may be
stopped and started again at any time, and does what is left.

${PATH_HELP}

  --all             every file, with replaced versions and the deleted files that can still be
                    undeleted; nothing less lets you take the secondary away
  --list FILE       the PATHs in FILE, one a line; - is standard input
${CONFIG_HELP}
  --dry-run         only look in both stores, and say what there is to copy
  --json            one object, as docs/cli.md describes it
  --quiet           no progress

Exit status: 0 the primary has all that is to be copied, 1 something is left, 2 usage, 3 could not complete,
69 a store does not answer, 77 permission, 78 configuration.
`;

const COUNTS = [
  "presentObjects",
  "copiedObjects",
  "copiedBytes",
  "missingObjects",
  "differingObjects",
  "archivedObjects",
  "failedObjects",
  "borrowedObjects",
] as const;

type Counts = Record<typeof COUNTS[number], number>;

/** What is left, in the order in which it is shown. */
const LEFT = [
  ["missingObjects", "in neither store"],
  ["differingObjects", "the primary has other bytes under the key"],
  ["archivedObjects", "archived in the secondary store"],
  ["failedObjects", "could not be copied"],
] as const;

interface Migrator extends AsyncDisposable {
  migrate(selection: string): Promise<Counts>;
}

export async function runMigrate(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      ...CONFIG_OPTION,
      "all": FLAG,
      "list": { type: "string" },
      "dry-run": FLAG,
      "json": FLAG,
      "quiet": FLAG,
    },
    allowPositionals: true,
  });
  const { all, list, json } = values;
  if (Number(all) + Number(list !== undefined) + Number(positionals.length > 0) !== 1) {
    throw new UsageError("one of --all, --list and PATHs is wanted");
  }
  const config = loadConfig(values.config);
  if (config.secondary === null) {
    throw new StartError(EXIT.configuration, "the configuration has no secondary store");
  }
  const isRestarted = await restartWithoutShim();
  if (isRestarted !== null) return isRestarted;
  const dryRun = values["dry-run"];
  const write = values.quiet ? (): void => {} : deps.writeError;
  const progress = new ProgressLine({ verb: "migrate", unit: "files", ...deps, write });
  const total = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Counts;
  const unknown: string[] = [];
  {
    const client = controlOf(values.config, deps.signal);
    await using migrator = await isRunning(client)
      ? migratorByDaemon(client, dryRun, progress)
      : await migratorInPlace(config, dryRun, progress, deps);
    for await (const selection of selectionsFrom({ all, list, positionals }, config)) {
      const counts = await migrator.migrate(selection);
      const isNothing = COUNTS.every((name) => counts[name] === 0);
      if (isNothing && selection !== "") unknown.push(selection);
      for (const name of COUNTS) total[name] += counts[name];
    }
  }
  progress.clear();
  if (json) {
    deps.print(JSON.stringify({ dryRun, ...total, unknownPaths: unknown.length }));
  } else for (const line of reportLines(total, dryRun)) deps.print(line);
  for (const path of unknown.slice(0, SHOWN_UNKNOWN_MAX)) {
    deps.printError(`${displayPath(path)}: no such file in the store`);
  }
  const isAll = unknown.length === 0 && LEFT.every(([name]) => total[name] === 0);
  return isAll && !(dryRun && total.copiedObjects > 0) ? 0 : 1;
}

/** Unknown paths that are named; the rest is counted. */
const SHOWN_UNKNOWN_MAX = 100;

interface Wanted {
  readonly all: boolean;
  readonly list: string | undefined;
  readonly positionals: readonly string[];
}

async function* selectionsFrom(
  { all, list, positionals }: Wanted,
  { depotPath }: Config,
): AsyncGenerator<string> {
  if (all) yield "";
  else if (list === undefined) yield* selectionsOf(positionals, depotPath);
  else {for await (const line of linesOfFile(list)) {
      yield selectionOfBytes(line, depotPath);
    }}
}

async function isRunning(client: ControlClient): Promise<boolean> {
  try {
    await client.ask({ op: "status" });
    return true;
  } catch (error) {
    if (isNobodyThere(error)) return false;
    throw error;
  }
}

function migratorByDaemon(
  client: ControlClient,
  dryRun: boolean,
  progress: ProgressLine,
): Migrator {
  return {
    async migrate(selection: string): Promise<Counts> {
      const answer = await client.ask(
        { op: "migrate", selection, dryRun },
        (done, all) => progress.update(done, all),
      );
      const counts = COUNTS.map((name) => [name, answer.count(name)]);
      return Object.fromEntries(counts) as Counts;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Holds the depot's lock until it is disposed of. */
async function migratorInPlace(
  config: Config,
  dryRun: boolean,
  progress: ProgressLine,
  { signal }: OperatorDeps,
): Promise<Migrator> {
  const { openOfflineMigration } = await withNativeParts(
    config,
    () => import("../daemon/migrate.ts"),
  );
  const log = openLogger({
    format: config.logFormat,
    level: "warn",
    file: config.logFile,
    rotateMaxMb: config.logRotateMaxMb,
    retentionDays: config.logRetentionDays,
    clock: SYSTEM_CLOCK,
  });
  const { version } = BUILD;
  let opened: OfflineMigration;
  try {
    opened = await openOfflineMigration({ config, log, version, signal });
  } catch (error) {
    await log.close();
    throw error;
  }
  return {
    async migrate(selection: string): Promise<Counts> {
      const all = selection === "" ? opened.files : 0;
      const onProgress = (done: number): void => progress.update(done, all);
      const report = await opened.migrate({ selection, dryRun, onProgress, signal });
      const { objects } = report;
      return {
        presentObjects: objects.present,
        copiedObjects: objects.copied,
        copiedBytes: report.copiedBytes,
        missingObjects: objects.missing,
        differingObjects: objects.differing,
        archivedObjects: objects.archived,
        failedObjects: objects.failed,
        borrowedObjects: objects.borrowed,
      };
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await opened[Symbol.asyncDispose]();
      await log.close();
    },
  };
}

export function reportLines(total: Counts, dryRun: boolean): string[] {
  const lines = [
    `${dryRun ? "would copy" : "copied"} ${objectsOf(total.copiedObjects)}, ` +
    `${formatBytes(total.copiedBytes)}; the primary had ${total.presentObjects}`,
  ];
  for (const [name, why] of LEFT) {
    if (total[name] > 0) lines.push(`left ${objectsOf(total[name])}: ${why}`);
  }
  const { borrowedObjects } = total;
  if (borrowedObjects > 0) {
    lines.push(
      `not copied: ${objectsOf(borrowedObjects)} of other instances (read_prefixes)`,
    );
  }
  return lines;
}

function objectsOf(count: number): string {
  return count === 1 ? "1 object" : `${count} objects`;
}
