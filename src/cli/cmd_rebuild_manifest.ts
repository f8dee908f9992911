/**
 * `p4-cache rebuild-manifest`: a manifest again, from the newest copy, the store and the
 * depot.
 *
 * The new manifest grows beside the old one, in `manifest.rebuilt`, and takes its place
 * only when it is whole; the old one stays as `manifest.damaged-<time>`. A rebuild that
 * was stopped goes on where it was.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { displayPath } from "../core/names.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import { isThere, removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { rebuiltDirectoryOf } from "../manifest/lmdb_manifest.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { rebuildManifest } from "../manifest/rebuild.ts";
import type { RebuildFinding, RebuildResult } from "../manifest/rebuild_run.ts";
import {
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  refuseForeignPlace,
  reporting,
  withDaemonLock,
} from "./manifest_arguments.ts";
import { filesOf } from "./operator_command.ts";
import { type CopyDeps, startFromCopy } from "./rebuild_copy.ts";
import { makeStateDirectory, type RebuildPlace, settleDevice } from "./rebuild_device.ts";
import type { RebuildSides, RebuildSidesOptions } from "./rebuild_stores.ts";
import { isToGoOn } from "./unfinished_rebuild.ts";

export const HELP = `\
Usage: p4-cache rebuild-manifest [--config FILE] [--manifest DIR] [--copy DIR]
                                 [--no-copy] [--no-secondary] [--new-disk]
                                 [--json]

Builds the manifest again: from the newest sound copy, be it beside the manifest or in the
store (or from --copy), what the store lists, then what the secondary store lists, if there
is one, and what the depot holds. Deletes nothing anywhere; the old manifest is kept beside the new one. A file on the disk that is longer and
newer than what the store has of it is uploaded; one that differs otherwise is in conflict:
both versions are kept until p4-cache conflicts decides. It may be stopped and run again:
it goes on, unless a copy was made since.
The daemon must not run. After the loss of the whole disk leave the depot empty: do not
restore a backup into it first.

${PLACE_HELP}
  --copy DIR        start from this copy
  --no-copy         start from nothing: one request to the store for each object
  --no-secondary    leave the secondary store out: where it cannot be read
  --new-disk        the depot is on another disk than before; without it that is refused,
                    as an empty mount point looks the same
  --json            the result as one object

Exit status: 0 done, 1 done with findings, 2 usage, 3 the daemon runs, the copy cannot be
used or the depot not be listed, 69 a store cannot be reached, 77 a directory of the depot
may not be listed, 78 configuration.
`;

export interface RebuildManifestDeps extends CopyDeps {
  openSides(configPath: string, options: RebuildSidesOptions): Promise<RebuildSides>;
  readonly signal: AbortSignal;
}

interface Options {
  readonly config: string;
  readonly copy: string | null;
  readonly noCopy: boolean;
  readonly noSecondary: boolean;
  readonly isNewDisk: boolean;
  readonly json: boolean;
}

export function runRebuildManifest(
  args: readonly string[],
  deps: RebuildManifestDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...PLACE_OPTIONS,
      copy: { type: "string" },
      "no-copy": { type: "boolean", default: false },
      "no-secondary": { type: "boolean", default: false },
      "new-disk": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const options: Options = {
    config: values.config,
    copy: values.copy ?? null,
    noCopy: values["no-copy"],
    noSecondary: values["no-secondary"],
    isNewDisk: values["new-disk"],
    json: values.json,
  };
  return reporting("rebuild-manifest", deps, async () => {
    const directory = manifestDirectory(values);
    refuseForeignPlace(directory);
    await makeStateDirectory(directory);
    return await withDaemonLock(directory, () => rebuild(directory, options, deps));
  });
}

async function rebuild(
  directory: string,
  options: Options,
  deps: RebuildManifestDeps,
): Promise<number> {
  const rebuilt = rebuiltDirectoryOf(directory);
  let isGoingOn = true;
  const { noSecondary } = options;
  const { signal } = deps;
  const sides = await deps.openSides(options.config, { noSecondary, signal });
  let result: RebuildResult;
  try {
    isGoingOn = await isToGoOn({
      directory,
      hasOwnStart: options.copy !== null || options.noCopy,
      nowMs: deps.nowMs(),
      storeCopies: () => sides.primary.storeCopies(),
      printError: (line) => deps.printError(line),
    });
    if (!isGoingOn) await startFromCopy({ directory, rebuilt, sides }, options, deps);
    const manifest = await deps.openManifest({
      directory: rebuilt,
      onMigrated: (rows) => deps.printError(`rows brought to a new schema: ${rows}`),
    });
    try {
      const place = { directory, place: sides.place, isNewDisk: options.isNewDisk };
      result = await run(manifest, { sides, place }, deps);
    } finally {
      await manifest.close();
    }
  } catch (error) {
    // Refused: nothing is left that a later run, on another disk perhaps, would go on with.
    const isRefused = error instanceof StartError && error.status === EXIT.configuration;
    if (isRefused && !isGoingOn) await removeIfThere(rebuilt);
    throw error;
  } finally {
    await sides.close();
  }
  const kept = await takePlace(directory, rebuilt, deps.nowMs());
  report(result, { directory, kept }, options, deps);
  return result.findings.length === 0 ? 0 : 1;
}

async function run(
  manifest: Manifest,
  { sides, place }: { readonly sides: RebuildSides; readonly place: RebuildPlace },
  deps: RebuildManifestDeps,
): Promise<RebuildResult> {
  await settleInstance(manifest, sides, deps);
  await settleDevice(manifest, place, deps);
  return await rebuildManifest({
    manifest,
    store: sides.primary.store,
    secondary: sides.secondary?.store ?? null,
    depot: sides.depot,
    owner: sides.owner,
    manage: sides.manage,
    nowMs: () => deps.nowMs(),
    onProgress: (step, done) => {
      if (done % 100_000 === 0) deps.printError(`${step}: ${done}`);
    },
  }, deps.signal);
}

/**
 * The daemon starts on a manifest with rows only if it knows whose and where they are. An empty
 * primary, in place of one that was lost, has no mark: the daemon puts it there, if the
 * secondary has the same.
 */
async function settleInstance(
  manifest: Manifest,
  { primary, secondary }: RebuildSides,
  { printError }: RebuildManifestDeps,
): Promise<void> {
  const inSecondary = await secondary?.instanceId() ?? null;
  const known = manifest.meta("instance_id") ?? await primary.instanceId() ?? inSecondary;
  if (known === null) return;
  await manifest.setMeta("instance_id", known);
  if (inSecondary === null || inSecondary === known) return;
  printError(
    `the secondary store belongs to instance ${inSecondary}, this depot to ${known}: files ` +
      "that only the secondary has become files of this depot, unless you stop this, remove " +
      "manifest.rebuilt beside the manifest, and give --no-secondary",
  );
}

/** Where the old manifest is now; null if there was none. */
async function takePlace(
  directory: string,
  rebuilt: string,
  nowMs: number,
): Promise<string | null> {
  const stamp = new Date(nowMs).toISOString().replace(/[:.]/g, "-");
  const kept = `${directory}.damaged-${stamp}`;
  const hadOld = isThere(directory);
  if (hadOld) await Deno.rename(directory, kept);
  await Deno.rename(rebuilt, directory);
  await syncDirectory(parentOf(directory));
  return hadOld ? kept : null;
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}

function report(
  result: RebuildResult,
  { directory, kept }: { readonly directory: string; readonly kept: string | null },
  { json }: Options,
  deps: RebuildManifestDeps,
): void {
  const { objects, secondaryObjects, rows, files, changed, findings, counts } = result;
  if (json) {
    deps.print(JSON.stringify({ directory, kept, ...result }));
    return;
  }
  for (const line of linesOf(findings, counts)) deps.print(line);
  const found = Object.values(counts).reduce((sum, count) => sum + count, 0);
  deps.print(
    `${directory}: ${objects} objects, ${
      secondaryObjects === 0 ? "" : `${secondaryObjects} of the secondary store, `
    }${rows} rows, ${files} files looked at; ` +
      `${changed} rows made or changed, ${found} findings`,
  );
  if (counts.conflict !== undefined) deps.print(afterConflicts(counts.conflict));
  if (result.absent > 0) {
    deps.print(
      `${result.absent} files are in the store only: deleted before, or the disk is new`,
    );
  }
  if (result.secondaryOnly > 0) {
    deps.print(
      `The version of ${filesOf(result.secondaryOnly)} is in the secondary store only: ` +
        "keep it configured. p4-cache migrate --all copies what the primary does not have",
    );
  }
  if (kept !== null) deps.print(`the old manifest is ${kept}`);
}

/** `p4-cache conflicts list` shows them all. */
const CONFLICTS_SHOWN_MAX = 20;

function* linesOf(
  findings: RebuildResult["findings"],
  counts: RebuildResult["counts"],
): Generator<string> {
  const shown = new Map<string, number>();
  for (const finding of findings) {
    const { kind } = finding;
    const before = shown.get(kind) ?? 0;
    if (kind === "conflict" && before === CONFLICTS_SHOWN_MAX) continue;
    shown.set(kind, before + 1);
    yield describe(finding);
  }
  for (const [kind, count] of Object.entries(counts)) {
    const more = count - (shown.get(kind) ?? 0);
    if (more > 0) yield `... and ${more} more like this: ${kind}`;
  }
}

function afterConflicts(count: number): string {
  return `In conflict: ${filesOf(count)}, each not what the store has of it and not ` +
    "known to be newer, as after a restore from a backup. Both versions are kept, none " +
    "is uploaded. Once the daemon runs, p4-cache conflicts list shows them, and " +
    "p4-cache conflicts restore --all takes the store's version of each. Before you " +
    'start it, see "When a backup was restored" in docs/operations.md';
}

function describe(finding: RebuildFinding): string {
  switch (finding.kind) {
    case "no-object":
      return `NO OBJECT  ${displayPath(finding.path)}: its marker stands for nothing`;
    case "other-marker":
      return `NOT ITS    ${
        displayPath(finding.path)
      }: its marker is not of the version ` +
        "that is known, nor of any other";
    case "moved":
      return `MOVED      ${displayPath(finding.path)}: it was ` +
        displayPath(finding.from);
    case "lost":
      return `LOST       ${displayPath(finding.path)}: it was never stored`;
    case "conflict":
      return `CONFLICT   ${displayPath(finding.path)}: the store has another version`;
    case "chosen":
      return `CHOSEN     ${
        displayPath(finding.path)
      }: the newest version, ${finding.key}`;
    case "stray":
      return `STRAY      ${finding.key}: belongs to no file that is managed`;
  }
}
