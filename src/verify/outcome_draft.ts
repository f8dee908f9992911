/**
 * Collects what is found of one archive file: a verdict for each revision, findings, and what
 * the store must hold. Pure.
 *
 * @module
 */

import type { ArchiveFile, ArchiveRevision } from "./archive_plan.ts";
import type { CopyReport } from "./copy_reader.ts";
import { findingOf } from "./finding.ts";
import { emptyTally, type Finding, type Side, type Tally } from "./report_types.ts";
import type { ManifestRow } from "./sources.ts";

/** An object that must be in the store: checked against its list. */
export interface ExpectedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly path: string;
  readonly file: ArchiveFile;
}

export interface FileOutcome {
  readonly tally: Tally;
  readonly findings: readonly Finding[];
  /** Names that the file may have on disk: they are no orphans. */
  readonly names: readonly string[];
  readonly expected: ExpectedObject | null;
  /** Why revisions are unverifiable, and how many. */
  readonly reasons: ReadonlyMap<string, number>;
}

type Verdict = "ok" | "unverifiable" | "excused" | "missing" | "bad";

/** Collects the outcome for one file. Each revision ends in one verdict. */
export class OutcomeDraft {
  readonly file: ArchiveFile;
  readonly tally: Tally = emptyTally();
  readonly #verdicts = new Map<ArchiveRevision, Verdict>();
  readonly #reasons = new Map<string, number>();
  #findings: Finding[] = [];
  #expected: ExpectedObject | null = null;

  constructor(file: ArchiveFile) {
    this.file = file;
  }

  get findings(): readonly Finding[] {
    return this.#findings;
  }

  all(verdict: "ok" | "excused"): void {
    for (const revision of this.file.revisions) this.#verdicts.set(revision, verdict);
  }

  unverifiable(why: string): void {
    for (const revision of this.file.revisions) {
      this.#verdicts.set(revision, "unverifiable");
      this.#reason(why);
    }
  }

  #reason(why: string): void {
    this.#reasons.set(why, (this.#reasons.get(why) ?? 0) + 1);
  }

  /** Whether every revision was compared with a record, and agrees. */
  isAllOk(): boolean {
    return this.file.revisions.every((revision) => this.#verdicts.get(revision) === "ok");
  }

  /** The object of `row` must be in the store's list. */
  expect(path: string, row: ManifestRow | null): void {
    if (row === null || row.stored === null || row.isElsewhere) return;
    const { key, sizeBytes } = row.stored;
    this.#expected = { key, sizeBytes, path, file: this.file };
  }

  /** Absence is no fault of revisions that have an excuse. */
  missing(
    path: string,
    wrong: readonly Side[],
    good: Finding["good"],
    why: string,
  ): void {
    for (const revision of this.file.revisions) {
      if (revision.excuse !== null) this.#verdicts.set(revision, "excused");
      else this.#find("missing", revision, path, { wrong, good, why });
    }
  }

  allBad(
    path: string,
    wrong: readonly Side[],
    good: Finding["good"],
    why: string,
  ): void {
    for (const revision of this.file.revisions) {
      this.#find("bad", revision, path, { wrong, good, why });
    }
  }

  /** A finding in place of the verdicts so far. */
  replace(
    path: string,
    wrong: readonly Side[],
    good: Finding["good"],
    why: string,
  ): void {
    this.restart();
    this.allBad(path, wrong, good, why);
  }

  replaceMissing(
    path: string,
    wrong: readonly Side[],
    good: Finding["good"],
    why: string,
  ): void {
    this.restart();
    this.missing(path, wrong, good, why);
  }

  restart(): void {
    this.#verdicts.clear();
    this.#reasons.clear();
    this.#findings = [];
  }

  amend(change: (finding: Finding) => Finding): void {
    this.#findings = this.#findings.map(change);
  }

  /** A verdict for each revision from what was read of one copy. */
  judge(path: string, report: CopyReport, side: "local" | "store"): void {
    for (const revision of this.file.revisions) {
      const judged = report.revisions!.get(revision.lbrRev)!;
      const where = { wrong: [side], good: [], why: judged.why };
      switch (judged.verdict) {
        case "ok":
          this.#verdicts.set(revision, "ok");
          break;
        case "unverifiable":
          this.#verdicts.set(revision, "unverifiable");
          this.#reason(judged.why);
          break;
        case "absent":
          if (revision.excuse !== null) this.#verdicts.set(revision, "excused");
          else this.#find("missing", revision, path, where);
          break;
        case "bad":
          this.#find("bad", revision, path, where, judged.claim);
          break;
        case "record":
          this.#find("bad", revision, path, {
            wrong: ["record"],
            good: [{ side, isVerified: true }],
            why: `${judged.why}; other rows agree with the content`,
          }, judged.claim);
      }
    }
    if (report.damage !== null && this.#findings.length === 0) {
      const why = `its revisions are whole, but the file is damaged: ${report.damage}`;
      this.#find("bad", this.file.revisions[0]!, path, { wrong: [side], good: [], why });
    }
  }

  #find(
    kind: "missing" | "bad",
    revision: ArchiveRevision,
    path: string,
    what: Pick<Finding, "wrong" | "good" | "why">,
    claim = revision.claims[0]!,
  ): void {
    this.#verdicts.set(revision, kind);
    this.#findings.push(findingOf(kind, revision, path, what, claim));
  }

  outcome(): FileOutcome {
    for (const [revision, verdict] of this.#verdicts) {
      this.tally[verdict]++;
      if (verdict === "excused") continue;
      this.tally.checked++;
      for (const claim of revision.claims) {
        if (claim.kind !== "storage") this.tally.rows += claim.rows;
      }
    }
    return {
      tally: this.tally,
      findings: this.#findings,
      names: this.file.names,
      // A finding has looked at the store's copy already.
      expected: this.#findings.length === 0 ? this.#expected : null,
      reasons: this.#reasons,
    };
  }
}
