/**
 * `p4-cache verify`: arguments, output and exit status. Reads only.
 *
 * @module
 */

import { ConfigError } from "../config/problem.ts";
import type { Clock } from "../core/clock.ts";
import { bytePathOf } from "../core/names.ts";
import { CatalogError } from "../verify/catalog.ts";
import { formatFinding } from "../verify/finding.ts";
import { Progress } from "../verify/progress.ts";
import { planRepair, repairHeader } from "../verify/repair.ts";
import {
  findingCount,
  formatSummary,
  jsonOfFinding,
  jsonOfResult,
  junitCase,
  junitFrame,
} from "../verify/report.ts";
import type { Depth, Finding } from "../verify/report_types.ts";
import { ResumeError } from "../verify/resume_log.ts";
import type { ArchiveStore, LocalFiles, ManifestView } from "../verify/sources.ts";
import { verify } from "../verify/verifier.ts";
import type { VerifyResult } from "../verify/verify_types.ts";
import { parseArguments, UsageError, type VerifyArguments } from "./verify_arguments.ts";

export const HELP = `\
Usage: p4-cache verify --checkpoint FILE [--journal FILE ...]
                       (--config FILE | --depot-root DIR) [options]

Checks every archive revision that a checkpoint and the journals after it name:
on disk, in the manifest and in the store. Needs no p4d and no licence, restores
nothing, changes nothing, and is safe while the daemon and the server run.

Input:
  --checkpoint FILE      checkpoint, plain or gzip, or the directory of a parallel one
  --journal FILE         journal after it; may be given again, in order
  --config FILE          configuration of p4-cache: depot root, manifest and store
  --depot-root DIR       only this tree (server.depot.root or P4ROOT): no manifest, no store
  --ignore-md5           go on although the input is not what its .md5 file says

What is checked:
  --depth DEPTH          exists (default), size, hash (BLAKE3 against the manifest; needs
                         --config) or content (MD5 of every revision)
  --path //DEPOT/...     only files below this depot path
  --archive-depots       depots of type archive too
  --all-copies           at content: read the store's copy of resident files as well
  --no-orphans           do not look for what no record names: with a filtered checkpoint,
                         or a copy of the manifest, files in use would look like that
  --orphan-age HOURS     what is younger than that before the records is no orphan
                         (default 24)

How much is read (hash and content; the rest is still checked at size):
  --sample 1/N           one archive in N, others with each checkpoint
  --subset K/N           the K-th of N parts, so that N runs cover everything
  --max-recall-bytes N   at most so many bytes from the store; K, M, G, T allowed
  --bandwidth N          at most so many bytes a second, from anywhere
  --resume FILE          remember what is done, and go on from there

Output:
  --json                 one JSON object
  --junit FILE           JUnit XML as well
  --repair               print commands for bash that may help; nothing is run
  --quiet                no progress
  --scratch DIR          where to sort (default $TMPDIR or /tmp): about 250 bytes a row

Exit status: 0 no findings, 1 findings, 2 usage, 3 could not complete
`;

/** What the command is given by the composition root. */
export interface VerifyDeps {
  /** Opens manifest and store read-only, by a configuration file. */
  openConfigured(path: string): Promise<ConfiguredSources>;
  /** The tree at an absolute root (one character per byte). */
  openFiles(depotRoot: string): LocalFiles;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** stderr is a terminal. */
  readonly isTerminal: boolean;
  /** Default of --scratch. */
  readonly scratchDirectory: string;
}

export interface ConfiguredSources {
  readonly depotRoot: string;
  readonly manifest: ManifestView | null;
  readonly store: ArchiveStore | null;
  close(): Promise<void>;
}

/** Returns the exit status. */
export async function runVerify(
  args: readonly string[],
  deps: VerifyDeps,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    deps.stdout(HELP);
    return 0;
  }
  try {
    return await runParsed(parseArguments(args), deps);
  } catch (error) {
    if (error instanceof UsageError) {
      deps.stderr(`p4-cache verify: ${error.message}\nTry p4-cache verify --help\n`);
      return 2;
    }
    if (error instanceof CatalogError || error instanceof ResumeError) {
      deps.stderr(`p4-cache verify: ${error.message}\n`);
      return 2;
    }
    if (isInputError(error)) {
      deps.stderr(`p4-cache verify: ${error.message}\n`);
      return 3;
    }
    throw error;
  }
}

/** Of what the command line names; a configuration that cannot be read is none. */
function isInputError(error: unknown): error is Error {
  if (error instanceof ConfigError) return false;
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.IsADirectory ||
    error instanceof Deno.errors.NotADirectory ||
    (error instanceof Error && /\(os error \d+\)/.test(error.message));
}

async function runParsed(args: VerifyArguments, deps: VerifyDeps): Promise<number> {
  const configured = args.config === null ? null : await deps.openConfigured(args.config);
  const depotRoot = configured?.depotRoot ?? bytePathOf(args.depotRoot!);
  const progress = new Progress({
    isTerminal: deps.isTerminal,
    clock: deps.clock,
    write: args.quiet ? () => {} : deps.stderr,
  });
  const output = new Output(args, deps, depotRoot);
  const startedMs = deps.clock.monotonicMs();
  try {
    const result = await verify(args.options, {
      files: deps.openFiles(depotRoot),
      depotRoot,
      manifest: configured?.manifest ?? null,
      store: configured?.store ?? null,
      scratchDirectory: args.scratch ?? deps.scratchDirectory,
      clock: deps.clock,
      signal: deps.signal,
    }, {
      finding(finding: Finding): void {
        progress.clear();
        output.finding(finding);
      },
      progress: (phase, done, total) => progress.update(phase, done, total),
    });
    progress.clear();
    output.finish(result, deps.clock.monotonicMs() - startedMs);
    if (result.incomplete.length > 0) return 3;
    return findingCount(result) > 0 ? 1 : 0;
  } finally {
    progress.clear();
    output.close();
    await configured?.close();
  }
}

/** Lines of a repair plan that are kept; a plan for more is no plan. */
const PLAN_LINES_MAX = 20_000;

/** Writes findings as they come; the frame of JSON and JUnit around them. */
class Output {
  readonly #args: VerifyArguments;
  readonly #deps: VerifyDeps;
  readonly #depotRoot: string;
  readonly #plan: string[] = [];
  #planLinesOmitted = 0;
  #count = 0;
  #cases: Deno.FsFile | null = null;

  constructor(args: VerifyArguments, deps: VerifyDeps, depotRoot: string) {
    this.#args = args;
    this.#deps = deps;
    this.#depotRoot = depotRoot;
    if (args.junit !== null) {
      this.#cases = Deno.openSync(`${args.junit}.part`, {
        write: true,
        create: true,
        truncate: true,
      });
    }
  }

  finding(finding: Finding): void {
    if (this.#args.json) {
      const open = this.#count === 0 ? `{"findings":[\n` : ",\n";
      this.#deps.stdout(open + JSON.stringify(jsonOfFinding(finding)));
    } else {
      this.#deps.stdout(`${formatFinding(finding)}\n`);
    }
    this.#count++;
    if (this.#cases !== null) writeText(this.#cases, junitCase(finding));
    if (!this.#args.repair) return;
    const lines = planRepair(finding, {
      depotRoot: this.#depotRoot,
      config: this.#args.config,
    });
    if (this.#plan.length + lines.length <= PLAN_LINES_MAX) this.#plan.push(...lines);
    else this.#planLinesOmitted += lines.length;
  }

  finish(result: VerifyResult, elapsedMs: number): void {
    const facts = { depth: this.#args.options.depth, elapsedMs };
    const plan = [repairHeader(this.#depotRoot), ...this.#plan];
    if (this.#planLinesOmitted > 0) {
      plan.push(`# and ${this.#planLinesOmitted} lines more`);
    }
    if (this.#args.json) {
      const members: Record<string, unknown> = jsonOfResult(result, facts);
      if (this.#args.repair) members.repair = plan;
      const open = this.#count === 0 ? `{"findings":[` : "\n";
      this.#deps.stdout(`${open}],${JSON.stringify(members).slice(1)}\n`);
    } else {
      for (const line of formatSummary(result, facts)) this.#deps.stdout(`${line}\n`);
      if (this.#args.repair) { for (const line of plan) this.#deps.stdout(`${line}\n`); }
    }
    this.#finishJunit(result, facts);
  }

  #finishJunit(result: VerifyResult, facts: { depth: Depth; elapsedMs: number }): void {
    const path = this.#args.junit;
    if (path === null || this.#cases === null) return;
    this.#cases.close();
    this.#cases = null;
    const { head, tail } = junitFrame(result, facts);
    const cases = Deno.readTextFileSync(`${path}.part`);
    Deno.writeTextFileSync(path, head + cases + tail);
    Deno.removeSync(`${path}.part`);
  }

  close(): void {
    this.#cases?.close();
    this.#cases = null;
  }
}

function writeText(file: Deno.FsFile, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}
