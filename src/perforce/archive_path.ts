/**
 * Where an archive lies on disk: depot maps, case folding, and the names of the three forms.
 * Pure.
 *
 * The path of an archive is the map of the depot in its `lbrFile` (not in the depot file)
 * with the rest of `lbrFile` in place of `...`. A server that ignores case writes the whole
 * name folded, and reads it folded first and then as it is spelt; so do we.
 *
 * @module
 */

import { bytePathOf, bytesOf } from "../core/names.ts";
import type { ArchiveForm } from "./file_type.ts";
import type { DepotRow, DepotType } from "./rows.ts";

/** How a server compares names. */
export interface CaseRule {
  readonly ignoresCase: boolean;
  readonly isUnicode: boolean;
}

/** The header's flags: 1 exact case, 2 any case, 8 more for unicode servers. */
export function caseRuleOf(flags: number): CaseRule {
  return { ignoresCase: (flags & 2) !== 0, isUnicode: (flags & 8) !== 0 };
}

/**
 * The name under which two spellings are the same file, as the server folds it: ASCII, and
 * on a unicode server each letter of valid UTF-8.
 */
export function foldCase(path: string, rule: CaseRule): string {
  if (!rule.ignoresCase) return path;
  // deno-lint-ignore no-control-regex
  if (!rule.isUnicode || /^[\x00-\x7f]*$/.test(path)) return lowerAscii(path);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytesOf(path),
    );
  } catch {
    return lowerAscii(path);
  }
  let folded = "";
  for (const letter of text) {
    // One letter for one letter: full lower-casing makes two of U+0130.
    const lower = letter.toLowerCase();
    folded += [...lower].length === 1 ? lower : letter;
  }
  return bytePathOf(folded);
}

function lowerAscii(path: string): string {
  return path.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Where the archives of one `lbrFile` lie. */
export interface ArchiveBase {
  readonly depot: string;
  readonly depotType: DepotType;
  /** See DepotRow. */
  readonly address: string;
  /** Below the depot root, or absolute where `isOutside`; without `,v` or `,d/`. */
  readonly path: string;
  /** The map leads out of the depot root. */
  readonly isOutside: boolean;
}

/** Resolves `lbrFile`s by the depots of one server. */
export class DepotMaps {
  readonly #depots = new Map<string, DepotRow>();
  readonly #rule: CaseRule;
  readonly #roots: readonly string[];

  /**
   * @param roots Absolute directories that stand for the depot root in absolute maps: the
   * one that is looked at, and the ones that the server had.
   */
  constructor(depots: Iterable<DepotRow>, rule: CaseRule, roots: readonly string[]) {
    this.#rule = rule;
    this.#roots = roots.filter((root) => root.startsWith("/"))
      .map((root) => root.replace(/\/+$/, ""));
    for (const depot of depots) {
      this.#depots.set(foldCase(depot.name, rule), depot);
    }
  }

  /** All depots that are known from rows. */
  depots(): Iterable<DepotRow> {
    return this.#depots.values();
  }

  /** Null if the depot has no row: an archive of it may be anywhere. */
  resolve(lbrFile: string): ArchiveBase | null {
    const slash = lbrFile.indexOf("/", 2);
    const depot = this.#depots.get(foldCase(lbrFile.slice(2, slash), this.#rule));
    if (depot === undefined) return null;
    const { path, isOutside } = this.mapped(depot, lbrFile.slice(slash + 1));
    const { name, type, address } = depot;
    return { depot: name, depotType: type, address, path, isOutside };
  }

  /** The map of a depot with `rest` in place of `...`. */
  mapped(depot: DepotRow, rest: string): { path: string; isOutside: boolean } {
    const map = depot.map.replaceAll("\\", "/");
    const path = map.endsWith("...") ? map.slice(0, -3) + rest : `${map}/${rest}`;
    if (/(?:^|\/)\.\.(?:\/|$)/.test(path)) return { path, isOutside: true };
    if (!/^(?:\/|[A-Za-z]:\/)/.test(path)) {
      return { path: path.replace(/^(?:\.\/)+/, ""), isOutside: false };
    }
    for (const root of this.#roots) {
      if (path.startsWith(`${root}/`)) {
        return { path: path.slice(root.length + 1), isOutside: false };
      }
    }
    return { path, isOutside: true };
  }

  /** The spellings of `path` to try, the one that the server writes first. */
  spellings(path: string): string[] {
    const folded = foldCase(path, this.#rule);
    return folded === path ? [path] : [folded, path];
  }
}

/**
 * The names of an archive below its base, the promised one first. The server also finds a
 * single-revision archive in the form that was not promised.
 */
export function archiveNames(form: ArchiveForm, base: string, lbrRev: string): string[] {
  const plain = `${base},d/${lbrRev}`;
  switch (form) {
    case "rcs":
      return [`${base},v`];
    case "plain":
      return [plain, `${plain}.gz`];
    case "gzip":
      return [`${plain}.gz`, plain];
    case "temporary":
      return [plain, `${plain}.gz`];
    case "tiny":
    case "external":
      return [];
  }
}

/**
 * The `lbrFile`-like base of an archive's path, and what of it the name says; null for a path
 * that is no archive.
 */
export function parseArchiveName(
  path: string,
): { base: string; lbrRev: string | null; isGzip: boolean } | null {
  if (path.endsWith(",v") && path.length > 2) {
    return { base: path.slice(0, -2), lbrRev: null, isGzip: false };
  }
  const slash = path.lastIndexOf("/");
  if (slash < 3 || !path.slice(0, slash).endsWith(",d")) return null;
  const name = path.slice(slash + 1);
  const isGzip = name.endsWith(".gz");
  return {
    base: path.slice(0, slash - 2),
    lbrRev: isGzip ? name.slice(0, -3) : name,
    isGzip,
  };
}
