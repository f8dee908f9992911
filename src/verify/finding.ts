/**
 * Makes findings, and writes them as one line, as users of `p4 verify` know them.
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import { describeType } from "../perforce/file_type.ts";
import { ACTIONS } from "../perforce/rows.ts";
import type { ArchiveRevision } from "./archive_plan.ts";
import type { Claim } from "./claims.ts";
import type { Finding, Side } from "./report_types.ts";

export function findingOf(
  kind: "missing" | "bad",
  revision: ArchiveRevision,
  path: string,
  what: Pick<Finding, "wrong" | "good" | "why">,
  claim: Claim,
): Finding {
  const row = claim.kind === "storage"
    ? revision.claims.find((other) => other.kind !== "storage") ?? claim
    : claim;
  const isStorage = row.kind === "storage";
  let rows = 0;
  for (const other of revision.claims) if (other.kind !== "storage") rows += other.rows;
  return {
    kind,
    depotFile: isStorage ? row.lbrFile : row.depotFile,
    depotRev: isStorage ? null : row.depotRev,
    action: isStorage ? null : ACTIONS[row.action] ?? String(row.action),
    change: isStorage ? null : row.change,
    type: describeType(row.type),
    digest: row.digest === "" ? null : row.digest,
    archive: path,
    archiveRev: revision.lbrRev,
    rows,
    ...what,
  };
}

const WORDS: Readonly<Record<Finding["kind"], string>> = {
  missing: "MISSING!",
  bad: "BAD!",
  orphan: "ORPHAN",
  stray: "STRAY",
};

const SIDES: Readonly<Record<Side, string>> = {
  local: "the local copy",
  store: "the store",
  record: "the record",
  manifest: "the manifest",
};

/** `BAD! //depot/a/b#3 - edit change 12 (text) depot/a/b,v 1.12: why; wrong: ...; good: ...` */
export function formatFinding(finding: Finding): string {
  const word = WORDS[finding.kind];
  if (finding.kind === "orphan" || finding.kind === "stray") {
    return `${word} ${displayPath(finding.archive)}: ${finding.why}`;
  }
  const rev = finding.depotRev === null ? "" : `#${finding.depotRev}`;
  const change = finding.change === null
    ? ""
    : ` - ${finding.action} change ${finding.change} (${finding.type})`;
  const others = finding.rows > 1 ? ` and ${finding.rows - 1} more` : "";
  const wrong = finding.wrong.map((side) => SIDES[side]).join(", ");
  return `${word} ${displayPath(finding.depotFile)}${rev}${others}${change} ` +
    `${displayPath(finding.archive)} ${finding.archiveRev}: ${finding.why}; ` +
    `wrong: ${wrong}; good copy: ${formatGood(finding.good)}`;
}

function formatGood(good: Finding["good"]): string {
  if (good.length === 0) return "none known";
  return good.map(({ side, isVerified }) =>
    `${SIDES[side]} (${isVerified ? "verified" : "present, not read"})`
  ).join(", ");
}
