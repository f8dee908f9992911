/**
 * Writes what an administrator may do about a finding, as shell commands to read first. They
 * are printed and never run, and none of them deletes anything. Pure.
 *
 * @module
 */

import { bytePathOf, displayPath } from "../core/names.ts";
import { formatFinding } from "./finding.ts";
import type { Finding } from "./report_types.ts";

/** What the commands are for. */
export interface RepairTarget {
  /** Absolute, one character per byte. */
  readonly depotRoot: string;
  /** Configuration that the commands name; null where the verifier was given none. */
  readonly config: string | null;
}

/** The plan for one finding: comment lines and commands. */
export function planRepair(finding: Finding, target: RepairTarget): string[] {
  return [comment(formatFinding(finding)), ...stepsFor(finding, target)];
}

function stepsFor(finding: Finding, target: RepairTarget): string[] {
  const { kind, wrong, archive } = finding;
  const good = finding.good.map(({ side }) => side);
  const command = commandFor(target);
  const path = shellQuote(argumentOf(archive));
  if (kind === "orphan") {
    return [
      "# nothing refers to it by these records; keep it until all that is MISSING or BAD is",
      "# settled and newer records agree",
    ];
  }
  if (kind === "stray") {
    return ["# neither a file nor an object is left of it: nothing can be brought back"];
  }
  if (wrong.includes("record")) return stepsForRecord(finding);
  if (wrong.includes("manifest")) {
    return ["# while the daemon is stopped:", command("rebuild-manifest")];
  }
  if (wrong.includes("local") && good.includes("store")) {
    const restore = command("rehydrate", `--prefix=${path}`);
    return kind === "bad" ? [moveAside(finding, target), restore] : [restore];
  }
  if (wrong.includes("store") && good.includes("local")) {
    return kind === "missing"
      ? [
        "# the store does not show it: evict keeps the file (status 1), and has it uploaded",
        command("evict", "--", path),
        command("drain", "--wait"),
      ]
      : [
        "# nothing may evict the good copy; then look at the object with the store's own tools",
        command("pin", "--", path),
      ];
  }
  return [
    "# no good copy is known: look for older versions of the object, a replica, a backup",
  ];
}

function stepsForRecord({ depotFile, depotRev }: Finding): string[] {
  const review = "# the archive is right by other rows";
  if (depotRev === null) return [`${review}; review them`];
  const revision = shellQuote(`${depotFile}#${depotRev},#${depotRev}`);
  return [`${review}; after review this records it anew: p4 verify -v ${revision}`];
}

function commandFor({ config }: RepairTarget): (...words: string[]) => string {
  const options = config === null ? [] : ["--config", shellQuote(bytePathOf(config))];
  return (name, ...words) => ["p4-cache", name, ...options, ...words].join(" ");
}

/**
 * To a name that is not managed under either policy, and not in a directory `x,d`, whose files
 * all are: with a managed one the row would go along, and nothing be left to restore.
 */
function moveAside({ archive }: Finding, { depotRoot }: RepairTarget): string {
  const segments = archive.split("/");
  const directory = segments.slice(0, -1);
  const names = segments.slice(-1);
  while (directory.at(-1)?.endsWith(",d")) names.unshift(directory.pop()!);
  const aside = [...directory, `tmp.${names.join(".")}.p4cache-bad`].join("/");
  const root = archive.startsWith("/") ? "" : `${depotRoot}/`;
  return `mv -n -- ${shellQuote(root + archive)} ${shellQuote(root + aside)}`;
}

/** A path as the commands read it (`PATH` of docs/cli.md): ASCII, other bytes as `\xNN`. */
function argumentOf(path: string): string {
  return path.replace(/[^\x20-\x7e]|\\/g, hexOf);
}

/** One line that no shell runs, whatever names are in it. */
function comment(text: string): string {
  // deno-lint-ignore no-control-regex
  return `# ${text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, "?")}`;
}

function hexOf(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/** One word for bash; bytes that are no printable ASCII as `$'\xNN'`. */
export function shellQuote(bytes: string): string {
  if (/^[A-Za-z0-9_.,/@%+:=-]+$/.test(bytes)) return bytes;
  if (/^[\x20-\x7e]*$/.test(bytes)) return `'${bytes.replaceAll("'", `'\\''`)}'`;
  return `$'${bytes.replace(/[^\x20-\x7e]|['\\]/g, hexOf)}'`;
}

/** The first line of a plan. */
export function repairHeader(depotRoot: string): string {
  const root = displayPath(depotRoot);
  return comment(`Proposed commands (bash) for ${root}. Nothing has been done.`);
}
