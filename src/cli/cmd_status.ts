/**
 * `p4-cache status`: what the running daemon has, does and waits for.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { formatBytes } from "../core/units.ts";
import { EXIT, StartError } from "../daemon/start_error.ts";
import { formatDuration } from "../verify/report.ts";
import type { Members } from "../wire/json_lines.ts";
import { controlOf } from "./control_client.ts";
import {
  CONFIG_HELP,
  CONFIG_OPTION,
  FLAG,
  type OperatorDeps,
} from "./operator_command.ts";

export const HELP = `\
Usage: p4-cache status [--config FILE] [--json]

What the running daemon has on the disk and in the store, what it still has to upload, and
what waits for a person.

${CONFIG_HELP}
  --json            one object, as docs/cli.md describes it

Exit status: 0 all is well, 1 something waits for a person, 2 usage, 3 no daemon answers,
77 permission, 78 configuration.
`;

export async function runStatus(
  args: readonly string[],
  deps: OperatorDeps,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...CONFIG_OPTION, json: FLAG },
  });
  const status = await statusWithin(ANSWER_MS_MAX, values.config, deps);
  if (values.json) deps.print(JSON.stringify(status.object));
  else for (const line of renderStatus(status, deps.clock.nowMs())) deps.print(line);
  return concernsOf(status, deps.clock.nowMs()).length === 0 ? 0 : 1;
}

/** Whoever watches the daemon must hear of one that hangs. */
const ANSWER_MS_MAX = 10_000;

async function statusWithin(
  limitMs: number,
  configPath: string,
  { signal }: OperatorDeps,
): Promise<Members> {
  const late = AbortSignal.timeout(limitMs);
  try {
    return await controlOf(configPath, AbortSignal.any([signal, late]))
      .ask({ op: "status" });
  } catch (error) {
    if (!late.aborted || signal.aborted) throw error;
    throw new StartError(
      EXIT.incomplete,
      `The daemon has not answered for ${
        limitMs / 1000
      } s: it hangs or was stopped; see ` +
        "its log, and start it again",
      { cause: error },
    );
  }
}

/** One line a subject, then what a person has to do. */
export function renderStatus(status: Members, nowMs: number): string[] {
  const n = (name: string): number => status.count(name);
  const bytes = (name: string): string => formatBytes(n(name));
  const limit = n("maxCacheBytes") === 0 ? "no limit" : `of ${bytes("maxCacheBytes")}`;
  const oldest = status.countOrNull("oldestDirtySecs");
  const retry = status.countOrNull("nextRetrySecs");
  return [
    `p4-cache ${status.text("version")}, process ${n("pid")}, up ${
      duration(n("uptimeSecs"))
    }${status.flag("readOnly") ? ", read_only" : ""}`,
    `depot     ${status.text("depot")}`,
    `files     ${n("files")}, ${bytes("totalBytes")}`,
    `cache     ${n("residentFiles")} files, ${bytes("residentBytes")} ${limit}; ` +
    `${bytes("freeBytes")} of the disk are free, ${bytes("minFreeBytes")} are kept free`,
    `evicted   ${n("evictedFiles")} files`,
    `dirty     ${n("dirtyFiles") + n("uploadingFiles")} files, ${bytes("dirtyBytes")}` +
    (oldest === null ? "" : `, the oldest for ${duration(oldest)}`),
    `uploads   ${n("uploadingFiles")} under way, ${n("retryingFiles")} wait for a retry` +
    (retry === null ? "" : ` (the next in ${duration(retry)})`),
    `restores  ${n("restoresWaiting")} queued or under way`,
    `deleted   ${n("tombstones")} versions are kept for now`,
    `scan      ${scanText(status, nowMs)}`,
    `helpers   watcher started again ${n("watcherRestarts")} times, gate ${
      n("gateRestarts")
    } times`,
    ...concernsOf(status, nowMs).map((concern) => `ATTENTION ${concern}`),
  ];
}

/** Credentials that end sooner are worth a line; the log begins to warn at the same time. */
const CREDENTIALS_WARNING_MS = 14 * 86_400_000;

function scanText(status: Members, nowMs: number): string {
  const atMs = status.countOrNull("scannedAtMs");
  const last = atMs === null
    ? "never before"
    : `last ${duration(Math.max(0, Math.floor((nowMs - atMs) / 1000)))} ago`;
  switch (status.text("scan")) {
    case "scanned":
      return `done, ${last}`;
    case "scanning":
      return `under way, ${last}`;
    case "catching-up":
      return `unscanned since the start, a slow scan is under way, ${last}`;
    case "incomplete":
      return `could not look at everything and is done again, ${last}`;
    case "stopped":
      return `stopped, ${last}`;
    default:
      return `unscanned since the start, ${last}`;
  }
}

function concernsOf(status: Members, nowMs: number): string[] {
  const concerns: string[] = [];
  const undecided = status.count("undecidedFiles");
  if (undecided > 0) {
    concerns.push(`${undecided} files wait for a decision: p4-cache conflicts list`);
  }
  const lost = status.count("lostFiles");
  if (lost > 0) {
    concerns.push(
      `${lost} files vanished before their upload since the start: p4-cache failed-ops list`,
    );
  }
  const corrupt = status.count("corruptReads");
  if (corrupt > 0) {
    concerns.push(
      `${corrupt} reads found no sound object in any store since the start: ` +
        "p4-cache failed-ops list",
    );
  }
  if (status.count("retryingFiles") > 0) {
    concerns.push("uploads have failed: p4-cache failed-ops list");
  }
  if (status.text("scan") === "stopped") {
    concerns.push("the scan stopped: see the daemon's log");
  }
  if (status.text("scan") === "incomplete") {
    concerns.push("a scan could not look at everything: see the daemon's log");
  }
  const watcher = status.textOrNull("watcher");
  if (watcher === "down") {
    concerns.push(
      "the watcher is down and is started again: until then nobody sees what is written; " +
        "see the daemon's log",
    );
  }
  if (watcher === "silent") {
    concerns.push(
      "whether the watcher reports everything cannot be told: see the daemon's log",
    );
  }
  if (status.flag("scanDue")) {
    concerns.push(
      "events were missed, and the scan for what they told is not over: until then nobody " +
        "knows whether the store has everything",
    );
  }
  const held = status.count("heldObjects");
  if (held > 0) {
    concerns.push(
      `${held} objects of deleted files stay, because markers that are not of the row of ` +
        "their name may stand for them: see the daemon's log",
    );
  }
  const allHeld = status.textOrNull("allHeldBecause");
  if (allHeld !== null) {
    concerns.push(`no object of a deleted file is removed: ${allHeld}`);
  }
  const missing = status.count("evictionMissingBytes");
  if (missing > 0) {
    concerns.push(`${formatBytes(missing)} should be evicted and cannot be yet`);
  }
  for (const store of ["primary", "secondary"] as const) {
    const endMs = status.countOrNull(`${store}CredentialsEndMs`);
    if (endMs === null || endMs - nowMs > CREDENTIALS_WARNING_MS) continue;
    const end = new Date(endMs).toISOString();
    const ends = endMs <= nowMs ? "ended" : "end";
    concerns.push(`the ${store} store's credentials ${ends} at ${end}: replace them`);
  }
  const trouble = status.textOrNull("manifestTrouble");
  if (trouble !== null) concerns.push(`the manifest cannot be written: ${trouble}`);
  return concerns;
}

function duration(secs: number): string {
  return formatDuration(secs * 1000);
}
