/**
 * `p4-cache run`: the daemon, in the foreground.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { loadConfig } from "../config/load_config.ts";
import type { Config } from "../config/key_table.ts";
import { loggingRefusal, openDaemonLog } from "../daemon/daemon_log.ts";
import { refuseForeignState } from "../daemon/own_directories.ts";
import { EXIT, messageOf, StartError } from "../daemon/start_error.ts";
import { useNativeDirectory } from "../posix/native_files.ts";
import { BUILD } from "./build_info.ts";
import { DEFAULT_CONFIG_PATH, UsageError } from "./command.ts";
import { execWithEagerPolls } from "./eager_polls.ts";

export const HELP = `\
Usage: p4-cache run [--config FILE]

Runs the daemon in the foreground until SIGTERM or SIGINT. SIGHUP reads the configuration
again, and opens the log file anew. systemd keeps it running; see docs/operations.md.

  --config FILE   default ${DEFAULT_CONFIG_PATH}

Exit status: 0 stopped by a signal, 69 store unavailable, 70 a bug, 74 state damaged,
75 the machine is short of something, 77 permission missing, 78 configuration or depot cannot
be used.
`;

export async function runRun(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { config: { type: "string", default: DEFAULT_CONFIG_PATH } },
    allowPositionals: true,
  });
  if (positionals.length > 0) throw new UsageError(`unexpected "${positionals[0]}"`);
  const isRestarted = await restartWithoutShim();
  if (isRestarted !== null) return isRestarted;
  execWithEagerPolls();
  // Until there is something to read anew, it must not end the daemon.
  Deno.addSignalListener("SIGHUP", () => {});
  const config = loadConfig(values.config);
  // Before there is a log: the wrong user would leave a file that the right one cannot write.
  refuseForeignState(statePathOf(config));
  const log = openDaemonLog(config, SYSTEM_CLOCK);
  const run = async (): Promise<number> => {
    const load = () => import("../daemon/daemon.ts");
    const { runDaemon } = await withNativeParts(config, load);
    const { version } = BUILD;
    return await runDaemon({ configPath: values.config, config, version, log });
  };
  return await loggingRefusal(log, run).finally(() => log.close());
}

/**
 * Loads code that brings native parts with it. They go below the depot's own state
 * directory, so the depot must be there first; nothing makes it.
 */
export async function withNativeParts<T>(
  config: Config,
  load: () => Promise<T>,
): Promise<T> {
  const { depotPath } = config;
  try {
    await Deno.stat(depotPath);
  } catch (error) {
    throw new StartError(
      EXIT.configuration,
      `Cannot use depot_path ${depotPath} (${
        messageOf(error)
      }): create it or mount it, or ` +
        `correct depot_path`,
      { cause: error },
    );
  }
  const statePath = statePathOf(config);
  // What is loaded from there runs as we do.
  refuseForeignState(statePath);
  useNativeDirectory(`${statePath}/native`);
  try {
    return await load();
  } catch (error) {
    throw new StartError(
      EXIT.configuration,
      `Cannot load the native parts: ${messageOf(error)}; ${statePath} must be ` +
        `writable for UID ${Deno.uid()}, the one that p4d runs as, and not be mounted noexec`,
      { cause: error },
    );
  }
}

function statePathOf({ depotPath }: Config): string {
  return `${depotPath.replace(/\/+$/, "")}/.p4cache`;
}

/**
 * The daemon must see what is on the disk, never itself through its own shim: where the shim
 * was preloaded into it, it runs as a child without. Null if there is no shim in it.
 */
export async function restartWithoutShim(): Promise<number | null> {
  const maps = await Deno.readTextFile("/proc/self/maps");
  if (!maps.includes("libp4shim.so") || Deno.env.get("P4CACHE_DISABLE") !== undefined) {
    return null;
  }
  const env = { ...Deno.env.toObject(), P4CACHE_DISABLE: "1" } as Record<string, string>;
  delete env["LD_PRELOAD"];
  const args = Deno.build.standalone
    ? Deno.args
    : ["run", "-A", Deno.mainModule, ...Deno.args];
  const child = new Deno.Command(Deno.execPath(), { args, env, clearEnv: true }).spawn();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => child.kill(signal));
  }
  return (await child.status).code;
}
