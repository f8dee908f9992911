/**
 * Which names below the depot root are judged when the look from the other side finds that no
 * record names them: archives by their name, in depots whose archives the records name all.
 * Pure.
 *
 * @module
 */

import { isHistory, LOCKS, RESERVED_DIRECTORY } from "../core/names.ts";
import {
  type CaseRule,
  type DepotMaps,
  foldCase,
  parseArchiveName,
} from "../perforce/archive_path.ts";
import type { DepotRow } from "../perforce/rows.ts";

export class JudgedNames {
  readonly #leftOut: readonly string[];
  readonly #rule: CaseRule;

  /** @param leftOut What the names begin with that are not judged. */
  constructor(leftOut: readonly string[], rule: CaseRule) {
    this.#leftOut = leftOut;
    this.#rule = rule;
  }

  has(path: string): boolean {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (parseArchiveName(path) === null) return false;
    if (name.startsWith("tmp.") && !isHistory(name)) return false;
    // Each device below the root has a directory of ours.
    if (`/${path}`.includes(`/${RESERVED_DIRECTORY}/`)) return false;
    if (path.startsWith(`${LOCKS}/`)) return false;
    const folded = foldCase(path, this.#rule);
    return !this.#leftOut.some((prefix) =>
      folded.startsWith(foldCase(prefix, this.#rule))
    );
  }

  /** Directories in which nothing is judged. There may be more in another case. */
  directoriesLeftOut(): string[] {
    const directories = this.#leftOut.map((prefix) => prefix.replace(/\/+$/, ""));
    return [RESERVED_DIRECTORY, LOCKS, ...directories.filter((it) => it !== "")];
  }
}

/** What the paths of archives begin with that are not asked for, or that no row may name. */
export function leftOutOf(maps: DepotMaps, checksArchiveDepots: boolean): string[] {
  const prefixes: string[] = [];
  for (const depot of maps.depots()) {
    if (depot.type === "remote") {
      // Its map is a path at another server.
      prefixes.push(`${depot.name}/`);
      continue;
    }
    const { path, isOutside } = maps.mapped(depot, "");
    if (isOutside) prefixes.push(...endsOf(path));
    else if (isLeftOut(depot, checksArchiveDepots)) prefixes.push(path);
  }
  return prefixes;
}

function isLeftOut(depot: DepotRow, checksArchiveDepots: boolean): boolean {
  return depot.type === "graph" || depot.type === "unknown" || depot.address !== "" ||
    (depot.type === "archive" && !checksArchiveDepots);
}

/**
 * A directory outside the depot root may be one inside, by a link or a mount: then what comes
 * last in its path is what its path below the root is.
 */
function endsOf(path: string): string[] {
  const segments = path.split("/").filter((it) => it !== "" && it !== "." && it !== "..");
  return segments.map((_, from) => `${segments.slice(from).join("/")}/`);
}
