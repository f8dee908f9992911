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
import type { Fault } from "../manifest/check.ts";
import { rebuiltDirectoryOf } from "../manifest/lmdb_manifest.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import {
  type RebuildDepot,
  type RebuildFinding,
  rebuildManifest,
  type RebuildResult,
  type RebuildStore,
} from "../manifest/rebuild.ts";
import {
  type ManifestCommandDeps,
  manifestDirectory,
  PLACE_HELP,
  PLACE_OPTIONS,
  reporting,
  withDaemonLock,
} from "./manifest_arguments.ts";

export const HELP = `\
Usage: p4-cache rebuild-manifest [--config FILE] [--manifest DIR] [--copy DIR]
                                 [--no-copy] [--json]

Builds the manifest again: from the newest sound copy (or --copy), what the store lists,
and what the depot holds. Deletes nothing anywhere; the old manifest is kept beside the
new one. Files on the disk that the copy does not know exactly are uploaded again. It may
be stopped and run again. The daemon must not run.

${PLACE_HELP}
  --copy DIR        start from this copy
  --no-copy         start from nothing: one request to the store for each object
  --json            the result as one object

Exit status: 0 done, 1 done with findings, 2 usage, 3 the daemon runs or the copy cannot
be used, 69 the store cannot be reached, 78 configuration.
`;

/** The two sides that a rebuild reads. */
export interface RebuildSides {
  readonly store: RebuildStore;
  readonly depot: RebuildDepot;
  /** Whose prefix of the store it is, or null. */
  instanceId(): Promise<string | null>;
  /** st_dev of the depot root. */
  readonly device: string;
  close(): Promise<void>;
}

export interface RebuildManifestDeps extends ManifestCommandDeps {
  openSides(configPath: string): Promise<RebuildSides>;
  checkManifest(directory: string): AsyncIterable<Fault>;
  /** Directories with copies of the manifest, the newest first. */
  copiesOf(manifestDirectory: string): string[];
  readonly signal: AbortSignal;
}

interface Options {
  readonly config: string;
  readonly copy: string | null;
  readonly noCopy: boolean;
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
      json: { type: "boolean", default: false },
    },
  });
  const options: Options = {
    config: values.config,
    copy: values.copy ?? null,
    noCopy: values["no-copy"],
    json: values.json,
  };
  return reporting("rebuild-manifest", deps, () => {
    const directory = manifestDirectory(values);
    return withDaemonLock(directory, () => rebuild(directory, options, deps));
  });
}

async function rebuild(
  directory: string,
  options: Options,
  deps: RebuildManifestDeps,
): Promise<number> {
  const rebuilt = rebuiltDirectoryOf(directory);
  await startFromCopy(directory, rebuilt, options, deps);
  const sides = await deps.openSides(options.config);
  let result: RebuildResult;
  try {
    const manifest = await deps.openManifest({ directory: rebuilt });
    try {
      result = await run(manifest, sides, deps);
    } finally {
      await manifest.close();
    }
  } finally {
    await sides.close();
  }
  const kept = await takePlace(directory, rebuilt, deps.nowMs());
  report(result, { directory, kept }, options, deps);
  return result.findings.length === 0 ? 0 : 1;
}

/** Nothing to do if a stopped rebuild is there. */
async function startFromCopy(
  directory: string,
  rebuilt: string,
  options: Options,
  deps: RebuildManifestDeps,
): Promise<void> {
  if (exists(rebuilt)) {
    deps.printError(`going on with ${rebuilt}`);
    return;
  }
  if (options.noCopy) return;
  const copies = options.copy === null ? deps.copiesOf(directory) : [options.copy];
  for (const copy of copies) {
    if (!await isSound(copy, deps)) {
      deps.printError(`the copy ${copy} is damaged, too`);
      continue;
    }
    deps.printError(`starting from the copy ${copy}`);
    const manifest = await deps.openManifest({ directory: copy, readOnly: true });
    try {
      await manifest.backup(rebuilt);
    } finally {
      await manifest.close();
    }
    return;
  }
  if (options.copy !== null) {
    throw new ManifestError("unavailable", `Cannot start from the copy ${options.copy}`);
  }
  deps.printError("there is no copy: every object is asked for by itself");
}

async function isSound(copy: string, deps: RebuildManifestDeps): Promise<boolean> {
  for await (const _ of deps.checkManifest(copy)) return false;
  return true;
}

async function run(
  manifest: Manifest,
  { store, depot, instanceId, device }: RebuildSides,
  deps: RebuildManifestDeps,
): Promise<RebuildResult> {
  // The daemon starts on a manifest with rows only if it knows whose and where they are.
  const known = manifest.meta("instance_id") ?? await instanceId();
  if (known !== null) await manifest.setMeta("instance_id", known);
  await manifest.setMeta("depot_device", device);
  return await rebuildManifest({
    manifest,
    store,
    depot,
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
  return hadOld ? kept : null;
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
  const { objects, rows, files, changed, findings } = result;
  if (json) {
    deps.print(JSON.stringify({ directory, kept, ...result }));
    return;
  }
  for (const finding of findings) deps.print(describe(finding));
  deps.print(
    `${directory}: ${objects} objects, ${rows} rows, ${files} files looked at; ` +
      `${changed} rows made or changed, ${findings.length} findings`,
  );
  if (result.absent > 0) {
    deps.print(
      `${result.absent} files are in the store only: deleted before, or the disk is new`,
    );
  }
  if (kept !== null) deps.print(`the old manifest is ${kept}`);
}

function describe(finding: RebuildFinding): string {
  switch (finding.kind) {
    case "no-object":
      return `NO OBJECT  ${displayPath(finding.path)}: its marker stands for nothing`;
    case "moved":
      return `MOVED      ${displayPath(finding.path)}: its object is named after ` +
        displayPath(finding.from);
    case "lost":
      return `LOST       ${displayPath(finding.path)}: it was never stored`;
    case "chosen":
      return `CHOSEN     ${
        displayPath(finding.path)
      }: the newest version, ${finding.key}`;
    case "stray":
      return `STRAY      ${finding.key}: belongs to no file`;
  }
}
