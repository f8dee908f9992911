/**
 * `p4-cache prefetch`: restores what a build or a changelist needs, before it is asked for.
 *
 * @module
 */

import { ConfigError } from "../config/problem.ts";
import type { Clock } from "../core/clock.ts";
import { bytePathOf, depotPathOrNull, displayPath, textOfBytes } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import { StartError } from "../daemon/start_error.ts";
import { CatalogError } from "../verify/catalog.ts";
import {
  parseLabel,
  planPrefetch,
  type PrefetchPlan,
  type Wanted,
} from "../verify/prefetch_plan.ts";
import { Progress } from "../verify/progress.ts";
import type { Restorer } from "./restore_client.ts";
import { Scratch } from "../verify/scratch.ts";
import { LocalFileError, type LocalFiles } from "../verify/sources.ts";
import { UsageError } from "./verify_arguments.ts";

export const HELP = `\
Usage: p4-cache prefetch (--change N | --label-file FILE | --path //DEPOT/...[#head|@N])
                         --checkpoint FILE [--journal FILE ...] --config FILE [options]

Restores the archives that revisions need, through the running daemon, so that a
build does not wait for each of them. Files that are here already are left alone.

  --change N             the revisions that change N submitted
  --label-file FILE      one //depot/path#revision a line, as p4 files @label writes them
  --path //DEPOT/DIR/... the newest revisions below a path (#head), or as of change N (@N)
  --checkpoint FILE      checkpoint, plain or gzip, or the directory of a parallel one
  --journal FILE         journal after it; may be given again, in order
  --config FILE          configuration of p4-cache
  --jobs N               restores at once, 1 to 64 (default 8)
  --dry-run              say what would be restored
  --json                 one JSON object
  --quiet                no progress
  --scratch DIR          where to sort (default $TMPDIR or /tmp)

Exit status: 0 all is here, 1 some could not be restored, or these records have nothing of
it, 2 usage, 3 could not complete
`;

/** What the command is given by the composition root. */
export interface PrefetchDeps {
  /** The depot and the way to its daemon, by a configuration file. */
  openConfigured(path: string): Promise<PrefetchTarget>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly isTerminal: boolean;
  readonly scratchDirectory: string;
}

export interface PrefetchTarget {
  /** Absolute, one character per byte. */
  readonly depotRoot: string;
  readonly files: LocalFiles;
  readonly restorer: Restorer;
}

interface Arguments {
  readonly wanted: Wanted | { readonly kind: "label"; readonly file: string };
  readonly checkpoint: string | null;
  readonly journals: readonly string[];
  readonly config: string;
  readonly jobs: number;
  readonly dryRun: boolean;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly scratch: string | null;
}

interface Outcome {
  resident: number;
  restored: number;
  restoredBytes: number;
  /** With --dry-run: what would be restored. */
  planned: number;
  readonly failed: { readonly path: string; readonly why: string }[];
}

/** Returns the exit status. */
export async function runPrefetch(
  args: readonly string[],
  deps: PrefetchDeps,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    deps.stdout(HELP);
    return 0;
  }
  try {
    return await runParsed(parse(args), deps);
  } catch (error) {
    if (error instanceof UsageError || error instanceof CatalogError) {
      deps.stderr(`p4-cache prefetch: ${error.message}\nTry p4-cache prefetch --help\n`);
      return 2;
    }
    const isOutside = error instanceof LocalFileError ||
      (error instanceof Error && /\(os error \d+\)/.test(error.message));
    if (!isOutside || error instanceof ConfigError) throw error;
    deps.stderr(`p4-cache prefetch: ${error.message}\n`);
    return 3;
  }
}

async function runParsed(args: Arguments, deps: PrefetchDeps): Promise<number> {
  const wanted = args.wanted.kind === "label"
    ? await readLabel(args.wanted.file)
    : args.wanted;
  const target = await deps.openConfigured(args.config);
  const progress = new Progress({
    isTerminal: deps.isTerminal,
    clock: deps.clock,
    write: args.quiet ? () => {} : deps.stderr,
  });
  const scratch = Scratch.open(args.scratch ?? deps.scratchDirectory);
  try {
    const plan = await planPrefetch(wanted, {
      checkpoint: args.checkpoint,
      journals: args.journals,
      depotRoot: target.depotRoot,
      scratch,
      onProgress: (done, total) => progress.update("records", done, total),
    });
    const outcome = await restoreAll(plan, target, args, {
      signal: deps.signal,
      onDone: (done) => progress.update("archives", done, plan.archives.length),
    });
    progress.clear();
    report(plan, outcome, args, deps);
    if (plan.incomplete.length > 0 || deps.signal.aborted) return 3;
    if (plan.isNothing && plan.unknown.length === 0) {
      deps.stderr(`p4-cache prefetch: ${whatIsMissing(wanted)}\n`);
      return 1;
    }
    return outcome.failed.length + plan.unknown.length > 0 ? 1 : 0;
  } finally {
    progress.clear();
    scratch.close();
  }
}

/** As likely an older checkpoint, or a slip, as a wish for nothing. */
function whatIsMissing(wanted: Wanted): string {
  switch (wanted.kind) {
    case "change":
      return `these records have no revision of change ${wanted.change}`;
    case "revisions":
      return "the label file names no revision";
    case "path": {
      const limit = wanted.changeMax === Infinity
        ? ""
        : ` up to change ${wanted.changeMax}`;
      return `these records have no revision of ${displayPath(wanted.path)}${limit}`;
    }
  }
}

async function readLabel(file: string): Promise<Wanted> {
  try {
    const text = textOfBytes(await Deno.readFile(file));
    return { kind: "revisions", revisions: parseLabel(text) };
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`${file}: ${error.message}`);
    throw error;
  }
}

async function restoreAll(
  plan: PrefetchPlan,
  target: PrefetchTarget,
  args: Arguments,
  run: { signal: AbortSignal; onDone: (done: number) => void },
): Promise<Outcome> {
  const outcome: Outcome = {
    resident: 0,
    restored: 0,
    restoredBytes: 0,
    planned: 0,
    failed: [],
  };
  const queue = plan.archives.values();
  let done = 0;
  const worker = async (): Promise<void> => {
    for (const names of queue) {
      if (run.signal.aborted) return;
      await restoreOne(names, target, args.dryRun, outcome, run.signal);
      run.onDone(++done);
    }
  };
  await Promise.all(Array.from({ length: args.jobs }, worker));
  return outcome;
}

async function restoreOne(
  names: readonly string[],
  { files, restorer }: PrefetchTarget,
  dryRun: boolean,
  outcome: Outcome,
  signal: AbortSignal,
): Promise<void> {
  // What has a marker is evicted; where there is nothing at all the daemon may still know.
  const evicted = names.find((name) => files.lstat(name)?.kind === "evicted");
  if (evicted === undefined && names.some((name) => files.lstat(name)?.kind === "file")) {
    outcome.resident++;
    return;
  }
  let why = "no archive has this name";
  for (const name of evicted === undefined ? names : [evicted]) {
    const path = depotPathOrNull(name);
    if (path === null) continue;
    if (dryRun) {
      outcome.planned++;
      return;
    }
    try {
      const reply = await restorer.restore(path, signal);
      if (reply.kind === "restored") {
        outcome.restored++;
        outcome.restoredBytes += reply.sizeBytes;
        return;
      }
      if (reply.kind === "failed") why = `${reply.code} ${reply.why}`;
    } catch (error) {
      if (signal.aborted) return;
      // It is the same for all of them.
      if (error instanceof StartError) throw error;
      why = error instanceof Error ? error.message : String(error);
    }
  }
  outcome.failed.push({ path: names[0]!, why });
}

function report(
  plan: PrefetchPlan,
  outcome: Outcome,
  args: Arguments,
  { stdout }: PrefetchDeps,
): void {
  const { archives, revisions, unknown, incomplete } = plan;
  const { resident, restored, restoredBytes, planned, failed } = outcome;
  if (args.json) {
    const text = JSON.stringify({
      revisions,
      archives: archives.length,
      resident,
      restored,
      restored_bytes: restoredBytes,
      planned,
      failed: failed.map(({ path, why }) => ({ path: displayPath(path), why })),
      unknown: unknown.map(displayPath),
      incomplete,
    });
    return stdout(`${text}\n`);
  }
  for (const { path, why } of failed) stdout(`FAILED ${displayPath(path)}: ${why}\n`);
  for (const revision of unknown) {
    stdout(`UNKNOWN ${displayPath(revision)}: not in these records\n`);
  }
  for (const why of incomplete) stdout(`incomplete: ${why}\n`);
  const what = args.dryRun
    ? `${planned} would be restored`
    : `${restored} restored (${formatBytes(restoredBytes)})`;
  stdout(
    `${revisions} revisions in ${archives.length} archives: ${resident} are here, ${what}, ` +
      `${failed.length} failed\n`,
  );
}

const VALUED = [
  "--change",
  "--label-file",
  "--path",
  "--checkpoint",
  "--journal",
  "--config",
  "--jobs",
  "--scratch",
];
const FLAGS = ["--dry-run", "--json", "--quiet"];

function parse(args: readonly string[]): Arguments {
  const values = new Map<string, string[]>();
  const flags = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const argument = args[at]!;
    const equals = argument.indexOf("=");
    const name = equals < 0 ? argument : argument.slice(0, equals);
    if (FLAGS.includes(argument)) {
      flags.add(argument);
    } else if (VALUED.includes(name)) {
      const value = equals < 0 ? args[++at] : argument.slice(equals + 1);
      if (value === undefined || value === "") {
        throw new UsageError(`${name} needs a value`);
      }
      values.set(name, [...values.get(name) ?? [], value]);
    } else {
      throw new UsageError(`"${argument}" is not an option`);
    }
  }
  const one = (name: string): string | null => {
    const all = values.get(name) ?? [];
    if (all.length > 1) throw new UsageError(`${name} may be given once`);
    return all[0] ?? null;
  };
  const config = one("--config");
  const checkpoint = one("--checkpoint");
  const journals = values.get("--journal") ?? [];
  if (config === null) throw new UsageError("--config is needed");
  if (checkpoint === null && journals.length === 0) {
    throw new UsageError("--checkpoint is needed");
  }
  const jobs = Number(one("--jobs") ?? 8);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 64) {
    throw new UsageError("--jobs is a number from 1 to 64");
  }
  return {
    wanted: parseWanted(one("--change"), one("--label-file"), one("--path")),
    config,
    checkpoint,
    journals,
    jobs,
    dryRun: flags.has("--dry-run"),
    json: flags.has("--json"),
    quiet: flags.has("--quiet"),
    scratch: one("--scratch"),
  };
}

function parseWanted(
  change: string | null,
  label: string | null,
  path: string | null,
): Arguments["wanted"] {
  if ([change, label, path].filter((it) => it !== null).length !== 1) {
    throw new UsageError("one of --change, --label-file and --path is needed");
  }
  if (label !== null) return { kind: "label", file: label };
  if (change !== null) {
    if (!/^\d{1,9}$/.test(change)) {
      throw new UsageError(`--change is a number, not "${change}"`);
    }
    return { kind: "change", change: Number(change) };
  }
  const match = /^(\/\/[^/@#]+\/[^@#]*?)(\.\.\.)?(?:#head|@(\d{1,9}))?$/.exec(path!);
  if (match === null || (match[2] !== undefined && !match[1]!.endsWith("/"))) {
    throw new UsageError(
      `--path is //DEPOT/DIR/... or //DEPOT/FILE, with #head or @CHANGE, not "${path}"`,
    );
  }
  if (match[2] === undefined && match[1]!.endsWith("/")) {
    throw new UsageError(`--path of a directory ends in "...": "${path}"`);
  }
  const changeMax = match[3] === undefined ? Infinity : Number(match[3]);
  return { kind: "path", path: bytePathOf(match[1]!), changeMax };
}
