/**
 * `p4-cache restore-archived`: asks for objects that an archive class holds, and tells how
 * far they are.
 *
 * Whether an object was asked for is known to its store alone, so a run keeps no state and
 * any later one goes on from there. Nothing of the manifest or the depot changes.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { Config } from "../config/key_table.ts";
import { loadConfig } from "../config/load_config.ts";
import { Places } from "../core/limits.ts";
import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import type { Stores } from "../daemon/stores.ts";
import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";
import type { ArchiveState, RetrieveSpeed, StorageBackend } from "../storage/backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { archivedInLedger } from "./archived_in_ledger.ts";
import { UsageError } from "./command.ts";
import { evictedRows } from "./evicted_rows.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
  PATH_HELP,
  selectionOfBytes,
  selectionsOf,
} from "./operator_command.ts";
import { linesOfFile } from "./path_list.ts";
import { ProgressLine } from "./progress_line.ts";
import { openConfiguredStores, openManifestToRead } from "./sources.ts";

export const HELP = `\
Usage: p4-cache restore-archived (--all-needed | --all | --list FILE | PATH ...)
                                 [--speed SPEED] [--days N] [--wait] [--poll-secs N]
                                 [--config FILE] [--dry-run] [--json] [--quiet]

Asks the store for the objects of evicted files that an archive class holds (S3 Glacier
Flexible Retrieval, Deep Archive and the archive tiers of Intelligent-Tiering; Azure
Archive), and says how many can be read. What was asked for already is not asked for again:
run it again to see how far it is, or with --wait. Retrievals cost money for each object and
byte: look with --dry-run first.

${PATH_HELP}

  --all-needed      files that somebody tried to read and that were archived, as
                    p4-cache-failed-ops.log has them
  --all             every evicted file
  --list FILE       the PATHs in FILE, one a line; - is standard input
  --speed SPEED     bulk, standard (default) or expedited: docs/backends.md says what each
                    store makes of it
  --days N          how long S3 keeps the retrieved copy, 1 to 365 (default 7)
  --wait            until all of them can be read
  --poll-secs N     how often --wait looks, 1 to 86400 (default 300)
${CONFIG_HELP}
  --dry-run         only look
  --json            one object, as docs/cli.md describes it
  --quiet           no progress

Exit status: 0 all can be read, 1 some are on their way, missing or failed, 2 usage, 3 could
not complete, 69 a store does not answer, 74 the manifest is damaged, 78 configuration.
`;

const CONCURRENCY = 16;
const SPEEDS = ["bulk", "standard", "expedited"] as const;

/** Failures that are named; the rest is counted. */
const SHOWN_FAILURES_MAX = 100;

interface Counts {
  /** Evicted files of the selection, and their bytes. */
  files: number;
  bytes: number;
  readableFiles: number;
  /** Archived, and not asked for: with --dry-run only. */
  archivedFiles: number;
  archivedBytes: number;
  requestedFiles: number;
  retrievingFiles: number;
  missingFiles: number;
  failedFiles: number;
}

interface Options {
  readonly speed: RetrieveSpeed;
  readonly days: number;
  readonly dryRun: boolean;
}

export async function runRestoreArchived(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      ...CONFIG_OPTION,
      "all-needed": FLAG,
      "all": FLAG,
      "list": { type: "string" },
      "speed": { type: "string", default: "standard" },
      "days": { type: "string", default: "7" },
      "wait": FLAG,
      "poll-secs": { type: "string", default: "300" },
      "dry-run": FLAG,
      "json": FLAG,
      "quiet": FLAG,
    },
    allowPositionals: true,
  });
  const wanted: Wanted = {
    isNeeded: values["all-needed"],
    isAll: values.all,
    list: values.list ?? null,
    paths: positionals,
  };
  expectOneSelection(wanted);
  const options = {
    speed: speedOf(values.speed),
    days: numberOf("--days", values.days, 365),
    dryRun: values["dry-run"],
  };
  const pollSecs = numberOf("--poll-secs", values["poll-secs"], 86_400);
  const config = loadConfig(values.config);
  await using work = await openWork(config, deps, options);
  const write = values.quiet ? (): void => {} : deps.writeError;
  const progress = new ProgressLine({ verb: "look", unit: "files", ...deps, write });
  for (;;) {
    const counts = await lookAtAll(work, wanted, progress);
    progress.clear();
    const waitingFiles = counts.requestedFiles + counts.retrievingFiles;
    if (!values.wait || options.dryRun || waitingFiles === 0) {
      report(counts, options, values.json, deps);
      return counts.readableFiles === counts.files ? 0 : 1;
    }
    if (!values.quiet) deps.printError(`${filesOf(waitingFiles)} on the way`);
    await deps.clock.sleep(pollSecs * 1_000, deps.signal);
  }
}

interface Wanted {
  readonly isNeeded: boolean;
  readonly isAll: boolean;
  readonly list: string | null;
  readonly paths: readonly string[];
}

function expectOneSelection({ isNeeded, isAll, list, paths }: Wanted): void {
  const given = [isNeeded, isAll, list !== null, paths.length > 0].filter((it) => it);
  if (given.length === 1) return;
  throw new UsageError("one of --all-needed, --all, --list and PATHs is wanted");
}

function speedOf(text: string): RetrieveSpeed {
  const speed = SPEEDS.find((it) => it === text);
  if (speed !== undefined) return speed;
  throw new UsageError(`--speed ${text}: ${SPEEDS.join(", ")} is wanted`);
}

function numberOf(option: string, text: string, max: number): number {
  const value = Number(text);
  if (/^\d{1,6}$/.test(text) && value >= 1 && value <= max) return value;
  throw new UsageError(`${option} ${text}: a number from 1 to ${max} is wanted`);
}

interface Work extends AsyncDisposable {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly stores: Stores;
  readonly options: Options;
  readonly deps: OperatorDeps;
}

async function openWork(
  config: Config,
  deps: OperatorDeps,
  options: Options,
): Promise<Work> {
  await using opening = new AsyncDisposableStack();
  const directory = `${config.depotPath.replace(/\/+$/, "")}/.p4cache/manifest`;
  const manifest = await openManifestToRead(directory);
  opening.defer(() => manifest.close());
  const stores = await openConfiguredStores(config);
  opening.defer(() => stores.primary.close());
  opening.defer(() => stores.secondary?.close());
  const opened = opening.move();
  const close = (): Promise<void> => opened.disposeAsync();
  return { config, manifest, stores, options, deps, [Symbol.asyncDispose]: close };
}

/** Anew in each round, from the manifest: its rows need not be held for days. */
async function lookAtAll(
  work: Work,
  wanted: Wanted,
  progress: ProgressLine,
): Promise<Counts> {
  const counts: Counts = {
    files: 0,
    bytes: 0,
    readableFiles: 0,
    archivedFiles: 0,
    archivedBytes: 0,
    requestedFiles: 0,
    retrievingFiles: 0,
    missingFiles: 0,
    failedFiles: 0,
  };
  const places = new Places(CONCURRENCY);
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | null = null;
  for await (const selection of selectionsOfWanted(work, wanted)) {
    let rowCount = 0;
    for (const row of evictedRows(work.manifest, selection)) {
      rowCount += 1;
      if (underWay.size >= CONCURRENCY) await Promise.race(underWay);
      if (work.deps.signal.aborted || failure !== null) break;
      const done: Promise<void> = places.run(() => lookAt(work, row, counts))
        .catch((error) => void (failure ??= { error }))
        .finally(() => underWay.delete(done));
      underWay.add(done);
      progress.update(counts.files, 0);
    }
    if (rowCount === 0 && wanted.paths.length > 0) {
      work.deps.printError(`${displayPath(selection)}: no evicted file`);
    }
  }
  await Promise.all(underWay);
  work.deps.signal.throwIfAborted();
  if (failure !== null) throw (failure as { readonly error: unknown }).error;
  return counts;
}

async function* selectionsOfWanted(
  { config }: Work,
  { isNeeded, isAll, list, paths }: Wanted,
): AsyncGenerator<string> {
  const { depotPath } = config;
  if (isAll) yield "";
  else if (isNeeded) yield* await archivedInLedger(depotPath);
  else if (list === null) yield* selectionsOf(paths, depotPath);
  else {
    for await (const line of linesOfFile(list)) {
      yield selectionOfBytes(line, depotPath);
    }
  }
}

async function lookAt(work: Work, row: PathAndEntry, counts: Counts): Promise<void> {
  const { printError } = work.deps;
  const { sizeBytes } = row.entry.stored!;
  counts.files += 1;
  counts.bytes += sizeBytes;
  try {
    const state = await stateOf(work, row);
    counts[`${state}Files`] += 1;
    if (state === "archived") counts.archivedBytes += sizeBytes;
    if (state === "missing") printError(`${displayPath(row.path)}: no store has it`);
  } catch (error) {
    // What is wrong with the store, and not with one object, ends the run.
    const isOfObject = error instanceof StorageError &&
      ["archived", "not-found", "precondition", "corrupt"].includes(error.fault);
    if (!isOfObject) throw error;
    counts.failedFiles += 1;
    if (counts.failedFiles > SHOWN_FAILURES_MAX) return;
    printError(`${displayPath(row.path)}: ${error.message}`);
  }
}

type FileState = "readable" | "archived" | "requested" | "retrieving" | "missing";

const OF_ARCHIVE: Readonly<Record<ArchiveState, FileState>> = {
  archived: "archived",
  retrieving: "retrieving",
  retrieved: "readable",
};

async function stateOf(work: Work, { entry }: PathAndEntry): Promise<FileState> {
  const { stores, options, deps: { signal } } = work;
  const { key } = entry.stored!;
  const all: StorageBackend[] = [stores.primary];
  if (stores.secondary !== null) all.push(stores.secondary);
  for (const store of all) {
    const info = await store.head(key, signal);
    if (info === null) continue;
    const state = info.archive === undefined ? "readable" : OF_ARCHIVE[info.archive];
    if (state !== "archived" || options.dryRun) return state;
    const { speed, days } = options;
    const after = await store.retrieve({ key, speed, days, signal });
    return after === "readable" ? "readable" : "requested";
  }
  return "missing";
}

function report(
  counts: Counts,
  { dryRun }: Options,
  isJson: boolean,
  { print }: OperatorDeps,
): void {
  if (isJson) return print(JSON.stringify({ dryRun, ...counts }));
  const { files, bytes, readableFiles } = counts;
  print(`${filesOf(files)}, ${formatBytes(bytes)}: ${readableFiles} can be read`);
  const lines = [
    [
      counts.archivedFiles,
      `archived, ${formatBytes(counts.archivedBytes)}, not asked for`,
    ],
    [counts.requestedFiles, "asked for now"],
    [counts.retrievingFiles, "asked for before, on the way"],
    [counts.missingFiles, "in no store"],
    [counts.failedFiles, "failed"],
  ] as const;
  for (const [count, what] of lines) if (count > 0) print(`${filesOf(count)} ${what}`);
}
