/**
 * Writes a result for people, as JSON and as JUnit. Pure.
 *
 * @module
 */

import { displayPath } from "../core/names.ts";
import { formatBytes } from "../core/units.ts";
import { formatFinding } from "./finding.ts";
import type { Depth, Finding, Tally } from "./report_types.ts";
import type { VerifyResult } from "./verify_types.ts";

export interface ReportFacts {
  readonly depth: Depth;
  readonly elapsedMs: number;
}

const COLUMNS = ["checked", "ok", "missing", "bad", "unverifiable", "excused"] as const;

/** The summary by depot, one string a line. */
export function formatSummary(result: VerifyResult, facts: ReportFacts): string[] {
  const rows: string[][] = [["depot", ...COLUMNS]];
  for (const [depot, tally] of [...result.tallies].sort(([a], [b]) => a < b ? -1 : 1)) {
    rows.push([`//${displayPath(depot)}`, ...COLUMNS.map((name) => String(tally[name]))]);
  }
  rows.push(["all", ...COLUMNS.map((name) => String(result.total[name]))]);
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length))
  );
  const lines = rows.map((row) =>
    row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)
    ).join("  ").trimEnd()
  );
  return ["", ...lines, "", ...formatNotes(result, facts)];
}

function formatNotes(result: VerifyResult, facts: ReportFacts): string[] {
  const { total, stats } = result;
  const lines = [
    `depth ${facts.depth}: ${total.checked} archive revisions of ${total.rows} rows ` +
    `in ${formatDuration(facts.elapsedMs)}; ${formatBytes(total.bytesRead)} read here, ` +
    `${formatBytes(total.bytesRecalled)} recalled from the store`,
    `records: ${stats.recordsRead} in ${formatBytes(stats.bytesRead)}; ` +
    `${stats.revisionRows} revisions (${stats.rowsWithoutContent} without content), ` +
    `${stats.storageRows} storage rows`,
  ];
  if (total.notSampled > 0) {
    lines.push(
      `not in the sample: ${total.notSampled} revisions, checked by existence and size`,
    );
  }
  if (total.deferred > 0) {
    lines.push(`not read, recall budget used up: ${total.deferred} revisions`);
  }
  if (total.skipped > 0) lines.push(`not asked for: ${total.skipped} revisions`);
  for (const [why, count] of [...result.reasons].sort(([, a], [, b]) => b - a)) {
    lines.push(`  ${count}: ${why}`);
  }
  lines.push(
    result.inventory === null
      ? `orphans: not looked for, ${result.inventoryOmitted}`
      : `orphans: ${result.orphans}; strays: ${result.strays}; too young to tell: ` +
        `${result.inventory.young}; waiting for removal: ${result.inventory.tombstones}; ` +
        `doubtful: ${result.inventory.doubtful}`,
  );
  for (const warning of result.warnings) lines.push(`warning: ${warning}`);
  for (const why of result.incomplete) lines.push(`incomplete: ${why}`);
  lines.push(verdictLine(result));
  return lines;
}

function verdictLine(result: VerifyResult): string {
  const findings = findingCount(result);
  const { unverifiable, checked } = result.total;
  const rest = unverifiable === 0
    ? ""
    : `; ${unverifiable} of ${checked} archive revisions could not be judged (see above)`;
  if (result.incomplete.length > 0) {
    return `RESULT: not complete (see above); ${findings} findings so far${rest}`;
  }
  if (findings > 0) return `RESULT: ${findings} findings${rest}`;
  return rest === "" ? "RESULT: all good" : `RESULT: no findings${rest}`;
}

/** Archive revisions, files, objects and rows that something is wrong with. */
export function findingCount(result: VerifyResult): number {
  const { total, orphans, strays } = result;
  return total.missing + total.bad + orphans + strays;
}

/** A finding as `--json` writes it. Paths are readable text; odd bytes are `\xNN`. */
export function jsonOfFinding(finding: Finding): unknown {
  return {
    kind: finding.kind,
    depot_file: displayPath(finding.depotFile),
    depot_rev: finding.depotRev,
    action: finding.action,
    change: finding.change,
    type: finding.type,
    digest: finding.digest,
    archive: displayPath(finding.archive),
    archive_rev: finding.archiveRev,
    rows: finding.rows,
    wrong: finding.wrong,
    good: finding.good.map(({ side, isVerified }) => ({ side, verified: isVerified })),
    why: finding.why,
  };
}

/** The members of the `--json` object other than `findings`. */
export function jsonOfResult(
  result: VerifyResult,
  facts: ReportFacts,
): Record<string, unknown> {
  const { total } = result;
  return {
    depth: facts.depth,
    complete: result.incomplete.length === 0,
    truncated: result.truncated,
    checked: total.checked,
    ok: total.ok,
    missing: total.missing,
    bad: total.bad,
    unverifiable: total.unverifiable,
    orphan: result.orphans,
    stray: result.strays,
    excused: total.excused,
    skipped: total.skipped,
    deferred: total.deferred,
    not_sampled: total.notSampled,
    rows: total.rows,
    bytes_read: total.bytesRead,
    bytes_recalled: total.bytesRecalled,
    orphans_omitted: result.inventoryOmitted,
    depots: Object.fromEntries(
      [...result.tallies].map((
        [depot, tally],
      ) => [displayPath(depot), jsonOfTally(tally)]),
    ),
    unverifiable_reasons: Object.fromEntries(result.reasons),
    records: {
      bytes: result.stats.bytesRead,
      records: result.stats.recordsRead,
      revisions: result.stats.revisionRows,
      without_content: result.stats.rowsWithoutContent,
      storage: result.stats.storageRows,
      malformed: result.stats.malformed,
      unknown: result.stats.unknownRecords,
      uncommitted: result.stats.uncommittedRows,
      by_table: Object.fromEntries(result.stats.rowsByTable),
    },
    as_of: result.asOfS,
    elapsed_ms: Math.round(facts.elapsedMs),
    warnings: result.warnings,
    incomplete: result.incomplete,
  };
}

function jsonOfTally(tally: Tally): unknown {
  const { bytesRead, bytesRecalled, notSampled, ...counts } = tally;
  return {
    ...counts,
    not_sampled: notSampled,
    bytes_read: bytesRead,
    bytes_recalled: bytesRecalled,
  };
}

/** A finding as a JUnit test case. */
export function junitCase(finding: Finding): string {
  const name = finding.depotFile === "" ? finding.archive : finding.depotFile;
  const rev = finding.depotRev === null ? "" : `#${finding.depotRev}`;
  return `  <testcase classname="p4-cache.verify" name="${
    xml(displayPath(name) + rev)
  }">` +
    `<failure type="${finding.kind}" message="${xml(finding.why)}">` +
    `${xml(formatFinding(finding))}</failure></testcase>\n`;
}

/** What stands before and after the cases of the findings. */
export function junitFrame(
  result: VerifyResult,
  facts: ReportFacts,
): { head: string; tail: string } {
  const { total, incomplete } = result;
  const passed = [...result.tallies].map(([depot, tally]) =>
    `  <testcase classname="p4-cache.verify" name="${
      xml(`//${displayPath(depot)}: ${tally.ok} archive revisions are good`)
    }"/>\n`
  );
  const errors = incomplete.map((why) =>
    `  <testcase classname="p4-cache.verify" name="completeness">` +
    `<error type="incomplete" message="${xml(why)}"/></testcase>\n`
  );
  const failures = total.missing + total.bad + result.orphans + result.strays;
  const head = `<?xml version="1.0" encoding="UTF-8"?>\n` +
    `<testsuite name="p4-cache verify" tests="${
      failures + passed.length + errors.length
    }" failures="${failures}" errors="${errors.length}" time="${
      (facts.elapsedMs / 1000).toFixed(3)
    }">\n`;
  return { head, tail: passed.join("") + errors.join("") + "</testsuite>\n" };
}

function xml(text: string): string {
  // deno-lint-ignore no-control-regex
  const printable = text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, "?");
  return printable.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
