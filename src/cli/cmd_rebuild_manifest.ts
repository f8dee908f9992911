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
import { displayPath, type ManagePolicy } from "../core/names.ts";
import { StartError } from "../daemon/start_error.ts";
import type { Fault } from "../manifest/check.ts";
import { copyDirectoryOf, copyNamesOf, newestFirst } from "../manifest/copies.ts";
import { removeIfThere, syncDirectory } from "../manifest/directories.ts";
import { DATA_FILE } from "../manifest/lmdb_key_value.ts";
import { rebuiltDirectoryOf } from "../manifest/lmdb_manifest.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { rebuildManifest } from "../manifest/rebuild.ts";
import type { RebuildFinding, RebuildResult } from "../manifest/rebuild_run.ts";
import type {
  RebuildDepot,
  RebuildOwner,
  RebuildStore,
} from "../manifest/rebuild_sides.ts";
import { StorageError } from "../storage/storage_error.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  refuseForeignPlace,
  reporting,
  withDaemonLock,
} from "./manifest_arguments.ts";
import { filesOf } from "./operator_command.ts";
import { isToGoOn } from "./unfinished_rebuild.ts";
import { makeStateDirectory, type RebuildPlace, settleDevice } from "./rebuild_device.ts";

export const HELP = `\
Usage: p4-cache rebuild-manifest [--config FILE] [--manifest DIR] [--copy DIR]
                                 [--no-copy] [--new-disk] [--json]

Builds the manifest again: from the newest sound copy, be it beside the manifest or in the
store (or from --copy), what the store lists, and what the depot holds. Deletes nothing
anywhere; the old manifest is kept beside the new one. A file on the disk that is longer and
newer than what the store has of it is uploaded; one that differs otherwise is in conflict:
both versions are kept until p4-cache conflicts decides. It may be stopped and run again:
it goes on, unless a copy was made since.
The daemon must not run. After the loss of the whole disk leave the depot empty: do not
restore a backup into it first.

${PLACE_HELP}
  --copy DIR        start from this copy
  --no-copy         start from nothing: one request to the store for each object
  --new-disk        the depot is on another disk than before; without it that is refused,
                    as an empty mount point looks the same
  --json            the result as one object

Exit status: 0 done, 1 done with findings, 2 usage, 3 the daemon runs or the copy cannot
be used, 69 the store cannot be reached, 78 configuration.
`;

/** The two sides that a rebuild reads. */
export interface RebuildSides {
  readonly store: RebuildStore;
  readonly depot: RebuildDepot;
  readonly owner: RebuildOwner;
  readonly manage: ManagePolicy;
  /** Whose prefix of the store it is, or null. */
  instanceId(): Promise<string | null>;
  /** st_dev of the depot root. */
  readonly device: string;
  /** Names of the copies of the manifest in the store. */
  storeCopies(): Promise<string[]>;
  /** Fetches one of them as the new file `target`, durably. */
  fetchCopy(name: string, target: string): Promise<void>;
  close(): Promise<void>;
}

export interface RebuildManifestDeps extends ManifestCommandDeps {
  openSides(configPath: string, signal: AbortSignal): Promise<RebuildSides>;
  checkManifest(directory: string): AsyncIterable<Fault>;
  readonly signal: AbortSignal;
}

interface Options {
  readonly config: string;
  readonly copy: string | null;
  readonly noCopy: boolean;
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
      "new-disk": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const options: Options = {
    config: values.config,
    copy: values.copy ?? null,
    noCopy: values["no-copy"],
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
  const sides = await deps.openSides(options.config, deps.signal);
  let result: RebuildResult;
  try {
    isGoingOn = await isToGoOn({
      directory,
      hasOwnStart: options.copy !== null || options.noCopy,
      nowMs: deps.nowMs(),
      storeCopies: () => sides.storeCopies(),
      printError: (line) => deps.printError(line),
    });
    if (!isGoingOn) await startFromCopy({ directory, rebuilt, sides }, options, deps);
    const manifest = await deps.openManifest({ directory: rebuilt });
    try {
      const place = { directory, device: sides.device, isNewDisk: options.isNewDisk };
      result = await run(manifest, { sides, place }, deps);
    } finally {
      await manifest.close();
    }
  } catch (error) {
    // Refused: nothing is left that a later run, on another disk perhaps, would go on with.
    if (error instanceof StartError && !isGoingOn) await removeIfThere(rebuilt);
    throw error;
  } finally {
    await sides.close();
  }
  const kept = await takePlace(directory, rebuilt, deps.nowMs());
  report(result, { directory, kept }, options, deps);
  return result.findings.length === 0 ? 0 : 1;
}

interface StartPlace {
  readonly directory: string;
  readonly rebuilt: string;
  readonly sides: RebuildSides;
}

async function startFromCopy(
  { directory, rebuilt, sides }: StartPlace,
  options: Options,
  deps: RebuildManifestDeps,
): Promise<void> {
  if (options.noCopy) return;
  if (options.copy !== null) {
    if (await takeLocalCopy(options.copy, rebuilt, deps)) return;
    throw new ManifestError("unavailable", `Cannot start from the copy ${options.copy}`);
  }
  // Copies of one name are one copy, in two places.
  const locals = copyNamesOf(directory);
  const inStore = await sides.storeCopies();
  for (const name of newestFirst([...new Set([...locals, ...inStore])], deps.nowMs())) {
    const local = copyDirectoryOf(directory, name);
    if (locals.includes(name) && await takeLocalCopy(local, rebuilt, deps)) return;
    if (inStore.includes(name) && await takeStoreCopy(name, rebuilt, sides, deps)) return;
  }
  deps.printError("there is no copy: every object is asked for by itself");
}

async function takeLocalCopy(
  copy: string,
  rebuilt: string,
  deps: RebuildManifestDeps,
): Promise<boolean> {
  if (!await isSound(copy, deps)) {
    deps.printError(`the copy ${copy} is damaged, too`);
    return false;
  }
  deps.printError(`starting from the copy ${copy}`);
  const manifest = await deps.openManifest({ directory: copy, readOnly: true });
  try {
    await manifest.backup(rebuilt);
  } finally {
    await manifest.close();
  }
  return true;
}

async function takeStoreCopy(
  name: string,
  rebuilt: string,
  sides: RebuildSides,
  deps: RebuildManifestDeps,
): Promise<boolean> {
  const fetched = `${rebuilt}.fetched`;
  await removeIfThere(fetched);
  await Deno.mkdir(fetched, { mode: 0o700 });
  deps.printError(`fetching the copy ${name} from the store`);
  try {
    await sides.fetchCopy(name, `${fetched}/${DATA_FILE}`);
  } catch (error) {
    // Older ones may be whole; anything but damage is for the operator to see.
    if (!(error instanceof StorageError) || error.fault !== "corrupt") throw error;
    deps.printError(`the copy ${name} in the store is damaged: ${error.message}`);
    return false;
  }
  if (!await isSound(fetched, deps)) {
    deps.printError(`the copy ${name} in the store is damaged`);
    return false;
  }
  deps.printError(`starting from the copy ${name} of the store`);
  // Looking at it made a lock file of readers: the data alone is the copy.
  await removeIfThere(`${fetched}/lock.mdb`);
  await syncDirectory(fetched);
  await Deno.rename(fetched, rebuilt);
  await syncDirectory(parentOf(rebuilt));
  return true;
}

async function isSound(copy: string, deps: RebuildManifestDeps): Promise<boolean> {
  for await (const _ of deps.checkManifest(copy)) return false;
  return true;
}

async function run(
  manifest: Manifest,
  { sides, place }: { readonly sides: RebuildSides; readonly place: RebuildPlace },
  deps: RebuildManifestDeps,
): Promise<RebuildResult> {
  const { store, depot, owner, manage, instanceId } = sides;
  // The daemon starts on a manifest with rows only if it knows whose and where they are.
  const known = manifest.meta("instance_id") ?? await instanceId();
  if (known !== null) await manifest.setMeta("instance_id", known);
  await settleDevice(manifest, place, deps);
  return await rebuildManifest({
    manifest,
    store,
    depot,
    owner,
    manage,
    nowMs: () => deps.nowMs(),
    onProgress: (step, done) => {
      if (done % 100_000 === 0) deps.printError(`${step}: ${done}`);
    },
  }, deps.signal);
}

/** Where the old manifest is now; null if there was none. */
async function takePlace(
  directory: string,
  rebuilt: string,
  nowMs: number,
): Promise<string | null> {
  const stamp = new Date(nowMs).toISOString().replace(/[:.]/g, "-");
  const kept = `${directory}.damaged-${stamp}`;
  const hadOld = exists(directory);
  if (hadOld) await Deno.rename(directory, kept);
  await Deno.rename(rebuilt, directory);
  await syncDirectory(parentOf(directory));
  return hadOld ? kept : null;
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function report(
  result: RebuildResult,
  { directory, kept }: { readonly directory: string; readonly kept: string | null },
  { json }: Options,
  deps: RebuildManifestDeps,
): void {
  const { objects, rows, files, changed, findings, counts } = result;
  if (json) {
    deps.print(JSON.stringify({ directory, kept, ...result }));
    return;
  }
  for (const line of linesOf(findings, counts)) deps.print(line);
  const found = Object.values(counts).reduce((sum, count) => sum + count, 0);
  deps.print(
    `${directory}: ${objects} objects, ${rows} rows, ${files} files looked at; ` +
      `${changed} rows made or changed, ${found} findings`,
  );
  if (counts.conflict !== undefined) deps.print(afterConflicts(counts.conflict));
  if (result.absent > 0) {
    deps.print(
      `${result.absent} files are in the store only: deleted before, or the disk is new`,
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
