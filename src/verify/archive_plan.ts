/**
 * Decides, from the claims on one `lbrFile`, which archive files must be there, under which
 * names, with which revisions, and which of them may be absent. Pure.
 *
 * @module
 */

import { archiveNames } from "../perforce/archive_path.ts";
import { type ArchiveForm, revisionsKept } from "../perforce/file_type.ts";
import type { Claim } from "./claims.ts";

/** One revision in the archive, with all that is said of it. */
export interface ArchiveRevision {
  readonly lbrRev: string;
  readonly claims: readonly Claim[];
  /** Why its absence is no fault; null if it must be there. */
  readonly excuse: Excuse | null;
}

export type Excuse = "purged" | "pending" | "unreferenced" | "temporary";

/** A file that must be on disk or in the store. */
export interface ArchiveFile {
  readonly isRcs: boolean;
  /** Names to look under, in the order in which the server does. */
  readonly names: readonly string[];
  readonly revisions: readonly ArchiveRevision[];
}

export interface ArchivePlan {
  readonly files: readonly ArchiveFile[];
  /** Revisions that promise no file: in tiny.db, or of a form that is not known. */
  readonly unverifiable: readonly { readonly claim: Claim; readonly why: string }[];
  /** Revisions behind an archive trigger (+X). */
  readonly external: number;
  /** Where an archive of those may be all the same. */
  readonly otherNames: readonly string[];
}

/** Which between them give every name of a revision. */
const FILE_FORMS = ["rcs", "plain"] as const satisfies readonly ArchiveForm[];

/**
 * @param base Path of the archive without `,v` or `,d/`.
 * @param spellings The spellings of a name to try, the server's first.
 */
export function planArchive(
  claims: readonly Claim[],
  base: string,
  spellings: (path: string) => readonly string[],
): ArchivePlan {
  const purged = purgedClaims(claims);
  const revisions = new Map<string, Claim[]>();
  for (const claim of claims) {
    const key = `${claim.form}/${claim.lbrRev}`;
    const known = revisions.get(key);
    if (known === undefined) revisions.set(key, [claim]);
    else known.push(claim);
  }
  const files: ArchiveFile[] = [];
  const rcs: ArchiveRevision[] = [];
  const unverifiable: { claim: Claim; why: string }[] = [];
  const otherNames = new Set<string>();
  let external = 0;
  for (const of of revisions.values()) {
    const { form, lbrRev } = of[0]!;
    const excuse = excuseOf(of, form, purged);
    if (form === "external" || form === "tiny" || form === null) {
      const names = FILE_FORMS.flatMap((it) => archiveNames(it, base, lbrRev));
      for (const name of spelled(names, spellings)) otherNames.add(name);
    }
    if (form === "external") external++;
    else if (form === "tiny") {
      unverifiable.push({ claim: of[0]!, why: "it is stored in tiny.db" });
    } else if (form === null) {
      unverifiable.push({ claim: of[0]!, why: "its storage form is not known" });
    } else if (form === "rcs") {
      rcs.push({ lbrRev, claims: of, excuse });
    } else {
      const names = spelled(archiveNames(form, base, lbrRev), spellings);
      files.push({ isRcs: false, names, revisions: [{ lbrRev, claims: of, excuse }] });
    }
  }
  if (rcs.length > 0) {
    const names = spelled(archiveNames("rcs", base, ""), spellings);
    files.unshift({ isRcs: true, names, revisions: rcs });
  }
  return { files, unverifiable, external, otherNames: [...otherNames] };
}

function spelled(
  names: readonly string[],
  spellings: (path: string) => readonly string[],
): string[] {
  return [...new Set(names.flatMap((name) => spellings(name)))];
}

function excuseOf(
  claims: readonly Claim[],
  form: ArchiveForm | null,
  purged: ReadonlySet<Claim>,
): Excuse | null {
  const rows = claims.filter((claim) => claim.kind !== "storage");
  if (rows.length === 0) {
    if (claims.every((claim) => claim.refCount <= 0)) return "unreferenced";
    return claims.every((claim) => revisionsKept(claim.lbrType) !== null)
      ? "purged"
      : null;
  }
  if (rows.every((claim) => purged.has(claim))) return "purged";
  if (rows.every((claim) => claim.kind === "pending")) return "pending";
  return form === "temporary" ? "temporary" : null;
}

/**
 * Revisions of +S files that are not among the newest that keep their content. Submitted ones
 * alone are numbered, and purged, by each other: the number of a shelved or pending one is that
 * of the revision that it began from, and it neither replaces that one nor is replaced by it.
 */
function purgedClaims(claims: readonly Claim[]): ReadonlySet<Claim> {
  const byFile = new Map<string, Claim[]>();
  for (const claim of claims) {
    const isCounted = claim.kind === "submitted" &&
      revisionsKept(claim.type | claim.lbrType) !== null;
    if (!isCounted) continue;
    const of = byFile.get(claim.depotFile);
    if (of === undefined) byFile.set(claim.depotFile, [claim]);
    else of.push(claim);
  }
  const purged = new Set<Claim>();
  for (const of of byFile.values()) {
    of.sort((a, b) => b.depotRev - a.depotRev);
    of.forEach((claim, index) => {
      if (index >= revisionsKept(claim.type | claim.lbrType)!) purged.add(claim);
    });
  }
  return purged;
}
