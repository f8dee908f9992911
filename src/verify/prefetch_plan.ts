/**
 * Which archives a build or a changelist needs, by the records of a checkpoint and journals.
 *
 * @module
 */

import {
  archiveNames,
  type CaseRule,
  DepotMaps,
  foldCase,
} from "../perforce/archive_path.ts";
import { archiveForm } from "../perforce/file_type.ts";
import { hasContent, type RevRow } from "../perforce/rows.ts";
import { type Catalog, readCatalog } from "./catalog.ts";
import { ExternalSorter } from "./external_sort.ts";
import type { Scratch } from "./scratch.ts";

/** What is needed. Paths have one character per byte. */
export type Wanted =
  /** The revisions that one change submitted. */
  | { readonly kind: "change"; readonly change: number }
  /** These revisions, as `p4 files @label` lists them. */
  | { readonly kind: "revisions"; readonly revisions: ReadonlyMap<string, number> }
  /** The newest revision of each file below, or at, a depot path, up to a change. */
  | {
    readonly kind: "path";
    /** Ends in a slash for a directory. */
    readonly path: string;
    /** Infinity for the head. */
    readonly changeMax: number;
  };

export interface PrefetchInput {
  readonly checkpoint: string | null;
  readonly journals: readonly string[];
  readonly depotRoot: string;
  readonly scratch: Scratch;
  readonly onProgress: (readBytes: number, totalBytes: number) => void;
}

export interface PrefetchPlan {
  /** Names to try for each archive, the server's first; each archive once. */
  readonly archives: readonly (readonly string[])[];
  /** Revisions that were asked for. */
  readonly revisions: number;
  /** The records have nothing of what was asked for, not even a deleted revision. */
  readonly isNothing: boolean;
  /** Of revisions that were asked for and are not in the records. */
  readonly unknown: readonly string[];
  readonly incomplete: readonly string[];
}

/** @throws What readCatalog() throws. */
export async function planPrefetch(
  wanted: Wanted,
  input: PrefetchInput,
): Promise<PrefetchPlan> {
  const candidates = new ExternalSorter(input.scratch);
  let target: Wanted | null = null;
  let catalog: Catalog | null = null;
  try {
    catalog = await readCatalog({
      checkpoint: input.checkpoint,
      journals: input.journals,
      scratch: input.scratch,
      ignoresMd5: false,
      makesClaims: false,
      onProgress: input.onProgress,
      onRevision: (rev, rule) => {
        const file = foldCase(rev.depotFile, rule);
        target ??= foldWanted(wanted, rule);
        if (isWanted(target, rev, file)) candidates.add(encodeCandidate(rev, file));
      },
    });
    const folded = target ?? foldWanted(wanted, catalog.caseRule);
    return choose(folded, catalog, candidates, input.depotRoot);
  } finally {
    catalog?.claims.close();
    candidates.close();
  }
}

/** The same, with names as the server compares them. */
function foldWanted(wanted: Wanted, rule: CaseRule): Wanted {
  switch (wanted.kind) {
    case "change":
      return wanted;
    case "path":
      return { ...wanted, path: foldCase(wanted.path, rule) };
    case "revisions": {
      const folded = [...wanted.revisions].map(([path, rev]) =>
        [foldCase(path, rule), rev] as const
      );
      return { ...wanted, revisions: new Map(folded) };
    }
  }
}

function isWanted(wanted: Wanted, rev: RevRow, file: string): boolean {
  switch (wanted.kind) {
    case "change":
      return rev.change === wanted.change;
    case "revisions":
      return wanted.revisions.get(file) === rev.depotRev;
    case "path":
      return rev.change <= wanted.changeMax &&
        (wanted.path.endsWith("/") ? file.startsWith(wanted.path) : file === wanted.path);
  }
}

const REV_MAX = 999_999_999;

/** Sorts by file, the newest revision first. */
function encodeCandidate(rev: RevRow, file: string): string {
  const order = String(REV_MAX - rev.depotRev).padStart(9, "0");
  return [file, order, hasContent(rev) ? 1 : 0, rev.lbrFile, rev.lbrRev, rev.lbrType]
    .join("\0");
}

function choose(
  wanted: Wanted,
  catalog: Catalog,
  candidates: ExternalSorter,
  depotRoot: string,
): PrefetchPlan {
  const { caseRule, serverRoot, depots, incomplete } = catalog;
  const maps = new DepotMaps(depots, caseRule, [depotRoot, serverRoot]);
  const archives = new Map<string, readonly string[]>();
  const unknown = new Map(wanted.kind === "revisions" ? wanted.revisions : []);
  let revisions = 0;
  let lastFile: string | null = null;
  for (const record of candidates.sorted()) {
    const [file, , live, lbrFile, lbrRev, lbrType] = record.split("\0");
    const isNewest = file !== lastFile;
    lastFile = file!;
    unknown.delete(file!);
    if (live !== "1" || (wanted.kind === "path" && !isNewest)) continue;
    revisions++;
    const names = namesOf(maps, lbrFile!, lbrRev!, Number(lbrType));
    if (names.length > 0) archives.set(names[0]!, names);
  }
  return {
    archives: [...archives.values()],
    revisions,
    isNothing: lastFile === null,
    unknown: [...unknown].map(([path, rev]) => `${path}#${rev}`),
    incomplete,
  };
}

function namesOf(
  maps: DepotMaps,
  lbrFile: string,
  lbrRev: string,
  lbrType: number,
): string[] {
  const base = maps.resolve(lbrFile);
  const form = archiveForm(lbrType);
  if (form === null || base?.isOutside === true || base?.depotType === "remote") {
    return [];
  }
  const path = base?.path ?? lbrFile.slice(2);
  return [
    ...new Set(archiveNames(form, path, lbrRev).flatMap((name) => maps.spellings(name))),
  ];
}

/**
 * The lines of a label: `//depot/a#3`, with or without what `p4 files` writes behind it.
 *
 * @throws {RangeError} On a line that is neither.
 */
export function parseLabel(text: string): Map<string, number> {
  const revisions = new Map<string, number>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line === "") continue;
    const match = /^(\/\/[^/]+\/.*)#(\d{1,9})(?: - .*)?$/.exec(line);
    if (match === null) {
      throw new RangeError(`line ${index + 1} is not //depot/path#revision`);
    }
    revisions.set(match[1]!, Number(match[2]));
  }
  return revisions;
}
