/**
 * `p4-cache prestage`: uploads everything while no daemon runs.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { formatBytes } from "../core/units.ts";
import { loadConfig } from "../config/load_config.ts";
import { openLogger } from "../obs/logger.ts";
import { BUILD } from "./build_info.ts";
import { restartWithoutShim, withNativeParts } from "./cmd_run.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  filesOf,
  FLAG,
  type OperatorDeps,
} from "./operator_command.ts";
import { ProgressLine } from "./progress_line.ts";

export const HELP = `\
Usage: p4-cache prestage [--config FILE] [--dry-run] [--json] [--quiet]

Compares the whole depot with the manifest and uploads what the store does not have, while
no daemon runs on it; p4d may. Nothing is evicted and nothing removed. Then it looks at all
names again, because a file that is renamed meanwhile may have been passed over. It may be
stopped and started again at any time, and goes on where it was.

${CONFIG_HELP}
  --dry-run         compare only, and say how much there is to upload
  --json            one object, as docs/cli.md describes it
  --quiet           no progress

Exit status: 0 the store has everything that was there when it began, 1 something is left, waits
for a decision (p4-cache conflicts), could not be looked at or may have been passed over, 2 usage, 69 store unavailable, 74 state damaged, 78 configuration, or
a daemon runs.
`;

export async function runPrestageCommand(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, "dry-run": FLAG, "json": FLAG, "quiet": FLAG },
  });
  const isRestarted = await restartWithoutShim();
  if (isRestarted !== null) return isRestarted;
  const config = loadConfig(values.config);
  const { runPrestage } = await withNativeParts(
    config,
    () => import("../daemon/prestage.ts"),
  );
  const log = openLogger({
    format: config.logFormat,
    level: "warn",
    file: config.logFile,
    rotateMaxMb: config.logRotateMaxMb,
    retentionDays: config.logRetentionDays,
    clock: SYSTEM_CLOCK,
  });
  const lineOf = (verb: string): ProgressLine =>
    new ProgressLine({
      verb,
      unit: "bytes",
      clock: deps.clock,
      isTerminal: deps.isTerminal,
      write: values.quiet ? (): void => {} : deps.writeError,
    });
  const progress = { scan: lineOf("hash"), upload: lineOf("upload") };
  const dryRun = values["dry-run"];
  const report = await runPrestage({
    config,
    version: BUILD.version,
    log,
    dryRun,
    onProgress: ({ phase, doneBytes, totalBytes }) =>
      progress[phase].update(doneBytes, totalBytes),
    signal: deps.signal,
  }).finally(async () => {
    progress.scan.clear();
    progress.upload.clear();
    await log.close();
  });
  if (values.json) deps.print(JSON.stringify({ dryRun, ...report }));
  else {
    const { files, totalBytes, uploadedBytes, dirtyFiles, dirtyBytes } = report;
    deps.print(
      `${filesOf(files)}, ${formatBytes(totalBytes)}; uploaded ${
        formatBytes(uploadedBytes)
      }; left ${filesOf(dirtyFiles)}, ${formatBytes(dirtyBytes)}`,
    );
    if (report.undecidedFiles > 0) {
      const wait = report.undecidedFiles === 1 ? "waits" : "wait";
      deps.print(
        `${filesOf(report.undecidedFiles)} ${wait} for a decision: see p4-cache ` +
          "conflicts list",
      );
    }
    if (report.unprovenFiles > 0) {
      deps.print(
        `${filesOf(report.unprovenFiles)} may have changed without a newer mtime: ` +
          (dryRun ? "not hashed in a dry run" : "not read, see the log"),
      );
    }
  }
  if (!values.json && report.lateFiles > 0) {
    deps.print(
      `${
        filesOf(report.lateFiles)
      } that nobody had written since the beginning came up in ` +
        "the last pass still: others may have been renamed past it; start it again",
    );
  }
  // Nor does the store have the bytes of a file in conflict.
  const left = report.dirtyFiles + report.undecidedFiles + report.unprovenFiles +
    report.lateFiles;
  return left === 0 ? 0 : 1;
}
