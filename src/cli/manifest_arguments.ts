/**
 * What the commands about the manifest share: where it is, and that nobody else writes it.
 *
 * @module
 */

import { loadConfig } from "../config/load_config.ts";
import { openLockFile, refuseForeignState } from "../daemon/own_directories.ts";
import type { ManagePolicy } from "../core/names.ts";
import type { OpenManifestOptions } from "../manifest/lmdb_manifest.ts";
import { type Manifest, ManifestError } from "../manifest/manifest.ts";
import { type CommandOutput, DEFAULT_CONFIG_PATH, isDenied } from "./command.ts";

/** What such a command is given. Tests give their own `openManifest`. */
export interface ManifestCommandDeps extends CommandOutput {
  openManifest(options: OpenManifestOptions): Promise<Manifest>;
  nowMs(): number;
}

/** For `parseArgs`. */
export const PLACE_OPTIONS = {
  config: { type: "string", default: DEFAULT_CONFIG_PATH },
  manifest: { type: "string" },
} as const;

export const PLACE_HELP = `\
  --config FILE     the daemon's configuration (default ${DEFAULT_CONFIG_PATH})
  --manifest DIR    the manifest's directory, in place of the configured one`;

export interface Place {
  readonly config: string;
  readonly manifest?: string | undefined;
}

/** The manifest's directory: `--manifest`, or the one below the configured depot. */
export function manifestDirectory({ config, manifest }: Place): string {
  if (manifest !== undefined) return manifest.replace(/\/+$/, "") || "/";
  return `${loadConfig(config).depotPath.replace(/\/+$/, "")}/.p4cache/manifest`;
}

/** What is managed there; with `--manifest` no configuration says. */
export function manageOf({ config, manifest }: Place): ManagePolicy {
  return manifest === undefined ? loadConfig(config).manage : "all";
}

/**
 * Runs `work` while no daemon has the manifest in `directory`.
 *
 * @throws {ManifestError} `unavailable` if one has.
 * @throws {StartError} If somebody else could have us write elsewhere.
 */
export async function withDaemonLock<T>(
  directory: string,
  work: () => Promise<T>,
): Promise<T> {
  refuseForeignPlace(directory);
  const path = `${parentOf(directory)}/daemon.lock`;
  const file = openLockFile(path);
  try {
    if (!await file.tryLock(true)) {
      throw new ManifestError(
        "unavailable",
        `Cannot change the manifest in ${directory}: ${path} is locked by a running ` +
          `daemon; stop it first`,
      );
    }
    return await work();
  } finally {
    file.close();
  }
}

/** Before anything is made there. What `--manifest` names elsewhere is the caller's own. */
export function refuseForeignPlace(directory: string): void {
  const place = parentOf(directory);
  if (place.endsWith("/.p4cache")) refuseForeignState(place);
}

function parentOf(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}

/** 3: it cannot be looked at. 77: not by this user. 74: it is damaged, or too new for this build. */
export function statusOf(error: ManifestError): number {
  if (isDenied(error.cause)) return 77;
  return error.fault === "damaged" || error.fault === "newer" ? 74 : 3;
}

/** Runs a command; a ManifestError becomes its message and exit status. */
export async function reporting(
  name: string,
  output: CommandOutput,
  run: () => Promise<number>,
): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    output.printError(`p4-cache ${name}: ${error.message}`);
    return statusOf(error);
  }
}
