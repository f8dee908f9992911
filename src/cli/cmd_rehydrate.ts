/**
 * `p4-cache rehydrate`: brings every evicted file back, through the running daemon: before
 * p4-cache is taken out, or before the store goes away.
 *
 * What is evicted is read from the manifest beside the daemon; each restore is a FETCH as
 * any other, so it may be stopped at any time, and the next run does what is left.
 *
 * @module
 */

import { parseArgs } from "node:util";
import type { Config } from "../config/key_table.ts";
import {
  bytePathOf,
  type DepotPath,
  depotPathOrNull,
  displayPath,
} from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import { engineSettingsOf } from "../daemon/settings.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import type { Manifest, PathAndEntry } from "../manifest/manifest.ts";
import { loadConfig } from "../config/load_config.ts";
import { UsageError } from "./command.ts";
import { shimSocketOf, unreachableBy } from "./control_client.ts";
import { evictedRows } from "./evicted_rows.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
  PATH_HELP,
  selectionOf,
} from "./operator_command.ts";
import { type Amount, noOutcome, type Outcome, restoreAll } from "./rehydrate_run.ts";
import { restorerAt } from "./restore_client.ts";
import { openLocalPosix, openManifestToRead } from "./sources.ts";

export const HELP = `\
Usage: p4-cache rehydrate [--prefix PATH] [--jobs N] [--config FILE] [--dry-run] [--json]
                          [--quiet]

Restores every evicted file, or those of a part of the depot. It asks first whether they
fit: the disk above min_free_bytes, and the cache below max_cache_bytes, which would evict
them again. Needs no licence. May be stopped and started again; what is back is left alone.

${PATH_HELP}

  --prefix PATH     only this file (also if its local copy is gone), or the files below this
                    directory
  --jobs N          restores at a time, 1 to 256 (default 16)
${CONFIG_HELP}
  --dry-run         say what would be restored, and whether it fits
  --json            one object, as docs/cli.md describes it
  --quiet           no progress

Exit status: 0 all are back, 1 some could not be restored, or nothing has that PATH, 2
usage, 3 it does not fit or no daemon answers, 74 the manifest is damaged, 77 permission, 78 configuration.
`;

const JOBS_MAX = 256;

export async function runRehydrate(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...CONFIG_OPTION,
      "prefix": { type: "string" },
      "jobs": { type: "string", default: "16" },
      "dry-run": FLAG,
      "json": FLAG,
      "quiet": FLAG,
    },
  });
  const jobs = Number(values.jobs);
  if (!/^\d{1,3}$/.test(values.jobs) || jobs < 1 || jobs > JOBS_MAX) {
    throw new UsageError(
      `--jobs ${values.jobs}: a number from 1 to ${JOBS_MAX} is wanted`,
    );
  }
  const config = loadConfig(values.config);
  const selection = values.prefix === undefined
    ? ""
    : selectionOf(values.prefix, config.depotPath);
  const directory = `${config.depotPath.replace(/\/+$/, "")}/.p4cache/manifest`;
  const manifest = await openManifestToRead(directory);
  try {
    const wanted = (): Iterable<PathAndEntry> =>
      evictedRows(manifest, selection, (path) => isGone(config, path));
    const evicted = amountOf(wanted());
    refuseWhatDoesNotFit(config, manifest, evicted);
    const dryRun = values["dry-run"];
    const outcome = noOutcome();
    if (!dryRun) {
      const write = values.quiet ? (): void => {} : deps.writeError;
      const run = { wanted, jobs, evicted, outcome, write };
      await restoreAll(run, restorerAt(shimSocketOf(config), deps.clock), deps)
        .catch((error) => {
          throw unreachableBy(error, shimSocketOf(config));
        });
    }
    report({ dryRun, json: values.json, evicted, outcome }, deps);
    if (isKnown(manifest, selection)) {
      return outcome.failedFiles + outcome.goneFiles === 0 ? 0 : 1;
    }
    deps.printError(`${displayPath(selection)}: no such file`);
    return 1;
  } finally {
    await manifest.close();
  }
}

/** Whether the manifest has the file, or any below the directory; of everything, nothing is asked. */
function isKnown(manifest: Manifest, selection: string): boolean {
  const path = depotPathOrNull(selection);
  return path === null || manifest.get(path) !== null ||
    manifest.entries(`${selection}/`, null, 1).length > 0;
}

/** A file that was moved away a moment ago has no marker yet, and its row is not evicted. */
function isGone({ depotPath }: Config, path: DepotPath): boolean {
  using posix = openLocalPosix();
  return posix.lstat(`${bytePathOf(depotPath.replace(/\/+$/, ""))}/${path}`) === null;
}

function amountOf(rows: Iterable<PathAndEntry>): Amount {
  const amount = { files: 0, bytes: 0 };
  for (const { entry } of rows) {
    amount.files += 1;
    amount.bytes += entry.stored!.sizeBytes;
  }
  return amount;
}

/** @throws {StartError} */
function refuseWhatDoesNotFit(config: Config, manifest: Manifest, wanted: Amount): void {
  if (wanted.files === 0) return;
  using posix = openLocalPosix();
  const { totalBytes, freeBytes } = posix.statvfs(bytePathOf(config.depotPath));
  const { minFreeBytes, maxCacheBytes } = engineSettingsOf(config, totalBytes);
  const roomBytes = Math.max(0, freeBytes - minFreeBytes);
  const need = `${filesOf(wanted.files)}, ${formatBytes(wanted.bytes)} to restore`;
  if (wanted.bytes > roomBytes) {
    throw new StartError(
      EXIT.incomplete,
      `${need} do not fit: ${
        formatBytes(roomBytes)
      } are free above min_free_bytes; add ` +
        `space, or restore a part with --prefix`,
    );
  }
  const { residentBytes } = manifest.counters();
  if (maxCacheBytes > 0 && residentBytes + wanted.bytes > maxCacheBytes) {
    throw new StartError(
      EXIT.incomplete,
      `${need} would be evicted again: with the ${
        formatBytes(residentBytes)
      } that are here ` +
        `they exceed max_cache_bytes (${
          formatBytes(maxCacheBytes)
        }); raise it first, the ` +
        `daemon takes it over while it runs`,
    );
  }
}

interface Result {
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly evicted: Amount;
  readonly outcome: Outcome;
}

function report(
  { dryRun, json, evicted, outcome: { restored, failedFiles, goneFiles } }: Result,
  { print }: OperatorDeps,
): void {
  if (json) {
    print(JSON.stringify({
      dryRun,
      evictedFiles: evicted.files,
      evictedBytes: evicted.bytes,
      restoredFiles: restored.files,
      restoredBytes: restored.bytes,
      failedFiles: failedFiles + goneFiles,
    }));
    return;
  }
  const { files, bytes } = dryRun ? evicted : restored;
  print(
    `${dryRun ? "would restore" : "restored"} ${filesOf(files)}, ${formatBytes(bytes)}`,
  );
  if (failedFiles > 0) print(`${filesOf(failedFiles)} could not be restored`);
  if (goneFiles > 0) {
    print(`${filesOf(goneFiles)} had another name when their turn came: run it again`);
  }
}
