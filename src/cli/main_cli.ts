/**
 * From the command line to a command, and from whatever it throws to an exit status and one
 * line that says what, where, what to do. Everything that a command needs is loaded when
 * it is chosen, so that `version` is quick.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../core/clock.ts";
import { BUILD, describeBuild } from "./build_info.ts";
import type { VerifyDeps } from "./cmd_verify.ts";
import { type CommandOutput, isDenied, UsageError } from "./command.ts";
import type { AllManifestDeps } from "./manifest_commands.ts";
import type { OperatorDeps } from "./operator_command.ts";

/** The program's output: whole lines, or text as it comes. */
export interface ProgramOutput extends CommandOutput {
  write(text: string): void;
  writeError(text: string): void;
}

interface Command {
  readonly summary: string;
  help(): Promise<string>;
  run(args: readonly string[], output: ProgramOutput): Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  run: {
    summary: "the daemon, in the foreground",
    help: async () => (await import("./cmd_run.ts")).HELP,
    run: async (args) => await (await import("./cmd_run.ts")).runRun(args),
  },
  status: operatorCommand(
    "what the running daemon has, does and waits for",
    () => import("./cmd_status.ts"),
    (module) => module.runStatus,
  ),
  drain: operatorCommand(
    "wait until the store has everything",
    () => import("./cmd_drain.ts"),
    (module) => module.runDrain,
  ),
  evict: operatorCommand(
    "evict files by hand",
    () => import("./cmd_evict.ts"),
    (module) => module.runEvict,
  ),
  pin: operatorCommand(
    "keep files on the local disk",
    () => import("./cmd_pin.ts"),
    (module) => (args, deps) => module.runPin(args, deps, true),
  ),
  unpin: operatorCommand(
    "let pinned files be evicted again",
    () => import("./cmd_pin.ts"),
    (module) => (args, deps) => module.runPin(args, deps, false),
  ),
  undelete: operatorCommand(
    "bring deleted files back",
    () => import("./cmd_undelete.ts"),
    (module) => module.runUndelete,
  ),
  conflicts: operatorCommand(
    "list and decide files of which two versions exist",
    () => import("./cmd_conflicts.ts"),
    (module) => module.runConflicts,
  ),
  "failed-ops": operatorCommand(
    "list what failed, retry uploads now",
    () => import("./cmd_failed_ops.ts"),
    (module) => module.runFailedOps,
  ),
  rehydrate: operatorCommand(
    "restore everything that is evicted",
    () => import("./cmd_rehydrate.ts"),
    (module) => module.runRehydrate,
  ),
  prestage: operatorCommand(
    "upload everything while no daemon runs",
    () => import("./cmd_prestage.ts"),
    (module) => module.runPrestageCommand,
  ),
  migrate: operatorCommand(
    "copy to the primary store what only the secondary has",
    () => import("./cmd_migrate.ts"),
    (module) => module.runMigrate,
  ),
  "restore-archived": operatorCommand(
    "ask the store for objects that an archive class holds",
    () => import("./cmd_restore_archived.ts"),
    (module) => module.runRestoreArchived,
  ),
  verify: {
    summary: "check every archive against a checkpoint, without p4d and without recalls",
    help: async () => (await import("./cmd_verify.ts")).HELP,
    run: async (args, output) => {
      const { runVerify } = await import("./cmd_verify.ts");
      return await runVerify(args, await archiveDeps(output));
    },
  },
  prefetch: {
    summary: "restore what a change, a label or a path needs",
    help: async () => (await import("./cmd_prefetch.ts")).HELP,
    run: async (args, output) => {
      const { runPrefetch } = await import("./cmd_prefetch.ts");
      const { openPrefetchTarget } = await import("./sources.ts");
      const deps = await archiveDeps(output);
      return await runPrefetch(args, { ...deps, openConfigured: openPrefetchTarget });
    },
  },
  "manifest-summary": manifestCommand(
    "files and bytes by state, directory and age",
    () => import("./cmd_manifest_summary.ts"),
    (module) => module.runManifestSummary,
  ),
  "check-manifest": manifestCommand(
    "look for damage in the manifest",
    () => import("./cmd_check_manifest.ts"),
    (module) => module.runCheckManifest,
  ),
  "rebuild-manifest": manifestCommand(
    "build the manifest again from its copy, the store and the depot",
    () => import("./cmd_rebuild_manifest.ts"),
    (module) => module.runRebuildManifest,
  ),
  "manifest-backup": manifestCommand(
    "copy the manifest while the daemon runs",
    () => import("./cmd_manifest_backup.ts"),
    (module) => module.runManifestBackup,
  ),
  "export-manifest": manifestCommand(
    "print every row as a JSON line",
    () => import("./cmd_export_manifest.ts"),
    (module) => module.runExportManifest,
  ),
  "import-manifest": manifestCommand(
    "add rows from JSON lines",
    () => import("./cmd_import_manifest.ts"),
    (module) => module.runImportManifest,
  ),
  config: {
    summary: "check a configuration, print an example or the schema",
    help: async () => (await import("./cmd_config.ts")).HELP,
    run: async (args, output) =>
      (await import("./cmd_config.ts")).runConfig(args, output),
  },
  version: {
    summary: "what this build is",
    help: () => Promise.resolve("Usage: p4-cache version\n"),
    run: (_args, output) => {
      for (const line of describeBuild(BUILD)) output.print(line);
      return Promise.resolve(0);
    },
  },
};

function manifestCommand<M extends { readonly HELP: string }>(
  summary: string,
  load: () => Promise<M>,
  runOf: (
    module: M,
  ) => (args: readonly string[], deps: AllManifestDeps) => Promise<number>,
): Command {
  return {
    summary,
    help: async () => (await load()).HELP,
    run: async (args, output) => {
      const { manifestDeps } = await import("./manifest_commands.ts");
      return await runOf(await load())(args, manifestDeps(output));
    },
  };
}

function operatorCommand<M extends { readonly HELP: string }>(
  summary: string,
  load: () => Promise<M>,
  runOf: (module: M) => (args: readonly string[], deps: OperatorDeps) => Promise<number>,
): Command {
  return {
    summary,
    help: async () => (await load()).HELP,
    run: async (args, output) => {
      const { abortOnInterrupt } = await import("./manifest_commands.ts");
      const signal = abortOnInterrupt();
      try {
        const deps = { ...output, clock: SYSTEM_CLOCK, signal };
        const isTerminal = Deno.stderr.isTerminal();
        return await runOf(await load())(args, { ...deps, isTerminal });
      } catch (error) {
        if (!signal.aborted || error !== signal.reason) throw error;
        output.printError("interrupted");
        return 3;
      }
    },
  };
}

/** What the commands about archives are given in the real program. */
async function archiveDeps(output: ProgramOutput): Promise<VerifyDeps> {
  const { openLocalPosix, openVerifySources } = await import("./sources.ts");
  const { abortOnInterrupt } = await import("./manifest_commands.ts");
  const { posixFiles } = await import("../verify/posix_files.ts");
  return {
    openConfigured: openVerifySources,
    openFiles: (root) => posixFiles(openLocalPosix(), root),
    clock: SYSTEM_CLOCK,
    signal: abortOnInterrupt(),
    stdout: output.write,
    stderr: output.writeError,
    isTerminal: Deno.stderr.isTerminal(),
    scratchDirectory: Deno.env.get("TMPDIR") ?? "/tmp",
  };
}

/** A link with one of these names is that command. */
const COMMAND_PREFIX = "p4-cache-";

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) =>
    `  ${name.padEnd(width)}  ${summary}`
  );
  return `Usage: p4-cache COMMAND [OPTION ...]\n\n${lines.join("\n")}\n\n` +
    "p4-cache COMMAND --help tells more. See also the manual: docs/operations.md.\n";
}

/** @param invokedAs The name of the executable, for links such as `p4-cache-verify`. */
export async function runCli(
  invokedAs: string,
  allArgs: readonly string[],
  output: ProgramOutput,
): Promise<number> {
  const linked = invokedAs.startsWith(COMMAND_PREFIX)
    ? invokedAs.slice(COMMAND_PREFIX.length)
    : null;
  const isLink = linked !== null && Object.hasOwn(COMMANDS, linked);
  const [name, ...args] = isLink ? [linked, ...allArgs] : allArgs;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    output.print(usage().trimEnd());
    return name === undefined ? 2 : 0;
  }
  const alias = name === "--version" || name === "-V" ? "version" : name;
  const command = Object.hasOwn(COMMANDS, alias) ? COMMANDS[alias] : undefined;
  if (command === undefined) {
    output.printError(`p4-cache: there is no command "${name}"`);
    output.printError(usage().trimEnd());
    return 2;
  }
  if (args.includes("--help") || args.includes("-h")) {
    output.print((await command.help()).trimEnd());
    return 0;
  }
  try {
    return await command.run(args, output);
  } catch (error) {
    return await explain(alias, command, error, output);
  }
}

/** The one switch from errors to exit statuses. */
async function explain(
  name: string,
  command: Command,
  error: unknown,
  output: CommandOutput,
): Promise<number> {
  if (!(error instanceof Error)) throw error;
  const isUsage = error instanceof UsageError ||
    ("code" in error && String(error.code).startsWith("ERR_PARSE_ARGS_"));
  output.printError(`p4-cache ${name}: ${error.message}`);
  if (isUsage) {
    output.printError((await command.help()).trimEnd());
    return 2;
  }
  switch (error.name) {
    case "StartError":
      return (error as Error & { readonly status: number }).status;
    case "ConfigError":
    case "SecretError":
    case "LayoutError":
      return 78;
    case "ManifestError":
      return manifestStatusOf(name, error);
    case "StorageError":
      return 69;
    default:
      if (name !== "run" && isOfSystem(error)) return isDenied(error) ? 77 : 3;
      output.printError(error.stack ?? "");
      return 70;
  }
}

/** For a daemon all of them are reasons not to start. */
function manifestStatusOf(name: string, error: Error & { fault?: string }): number {
  if (isDenied(error.cause)) return 77;
  // There may be room at another try.
  if (error.fault === "full") return 3;
  if (error.fault === "stuck") return name === "run" ? 75 : 3;
  const isDamaged = error.fault === "damaged" || error.fault === "newer";
  return name === "run" || isDamaged ? 74 : 3;
}

/** A command met a file or a directory that it cannot use: no bug of ours. */
function isOfSystem(error: Error): boolean {
  return error.name === "PosixError" || /\(os error \d+\)/.test(error.message);
}
