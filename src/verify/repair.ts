/**
 * Writes what an administrator may do about a finding, as shell commands to read first. They
 * are printed and never run, and none of them deletes anything. Pure.
 *
 * @module
 */

import { bytesOf, displayPath } from "../core/names.ts";
import { formatFinding } from "./finding.ts";
import type { Finding } from "./report_types.ts";

/** The plan for one finding: comment lines and commands. */
export function planRepair(finding: Finding, depotRoot: string): string[] {
  const lines = [`# ${formatFinding(finding)}`];
  const path = finding.archive;
  const local = shellQuote(path.startsWith("/") ? path : `${depotRoot}/${path}`);
  const good = finding.good.map(({ side }) => side);
  const isWrong = (side: Finding["wrong"][number]): boolean =>
    finding.wrong.includes(side);
  if (finding.kind === "orphan") {
    lines.push(
      "# nothing refers to it by these records; keep it until newer records agree",
    );
  } else if (finding.kind === "stray") {
    lines.push("p4-cache check-manifest");
  } else if (isWrong("record")) {
    lines.push(
      "# the archive is right by other rows; p4 verify -v //... records it anew, after review",
    );
  } else if (isWrong("manifest")) {
    lines.push("p4-cache rebuild-manifest");
  } else if (isWrong("local") && good.includes("store")) {
    if (finding.kind === "bad") lines.push(`mv -n -- ${local} ${quarantined(local)}`);
    lines.push(`p4-cache rehydrate ${shellQuote(path)}`);
  } else if (isWrong("store") && good.includes("local")) {
    lines.push(`p4-cache prestage ${shellQuote(path)}`);
  } else {
    lines.push(
      "# no good copy is known: look for older versions of the object, a replica, a backup",
    );
  }
  return lines;
}

function quarantined(quoted: string): string {
  return `${quoted}.p4cache-bad`;
}

/** One word for a POSIX shell; bytes that are no printable ASCII as `$'\xNN'`. */
export function shellQuote(bytes: string): string {
  if (/^[A-Za-z0-9_.,/@%+:=-]+$/.test(bytes)) return bytes;
  if (/^[\x20-\x7e]*$/.test(bytes)) return `'${bytes.replaceAll("'", `'\\''`)}'`;
  let text = "";
  for (const byte of bytesOf(bytes)) {
    const char = String.fromCharCode(byte);
    text += byte < 0x20 || byte > 0x7e || char === "'" || char === "\\"
      ? `\\x${byte.toString(16).padStart(2, "0")}`
      : char;
  }
  return `$'${text}'`;
}

/** The first line of a plan. */
export function repairHeader(depotRoot: string): string {
  return `# Proposed commands for ${displayPath(depotRoot)}. Nothing has been done.`;
}
