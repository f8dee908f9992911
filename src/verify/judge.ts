/**
 * Compares what an archive revision holds with what the rows say it holds. Pure.
 *
 * One content answers for many rows: lazy copies, and the storage table. A row that differs
 * where another agrees is a wrong row; a content that no row agrees with is a wrong content.
 * What cannot be known offline is unverifiable, never bad: the values of most +k keywords
 * depend on the server's users and time zone. A text without any is known.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { keywordMode } from "../perforce/file_type.ts";
import { expandK, expandKo, mayHoldKeywords } from "../perforce/keywords.ts";
import type { Claim } from "./claims.ts";

/** Content of one revision, in server form. */
export interface RevisionContent {
  /** Lower-case hex. */
  readonly md5: string;
  readonly sizeBytes: number;
  /** As latin-1; null if it is too large to be held. Asked only where keywords matter. */
  readonly text: () => string | null;
}

/**
 * ok: each row that says something agrees. record: some rows agree, others do not. bad: none
 * agrees. unknown: no row can be compared.
 */
export interface Judgement {
  readonly verdict: "ok" | "bad" | "record" | "unknown";
  readonly why: string;
  /** The row to name: the first that disagrees, else the first. */
  readonly claim: Claim;
}

type Answer = "agrees" | "differs" | "unknown";

/** Judges by all claims on one archive revision; there is at least one. */
export function judgeContent(
  claims: readonly Claim[],
  content: RevisionContent,
): Judgement {
  let agreeing = 0;
  let wrong: { claim: Claim; why: string } | null = null;
  let unknown = "";
  // The storage table knows the text without keywords: it settles what +k leaves open.
  const storage = claims.find((claim) => claim.kind === "storage" && claim.digest !== "");
  const isStored = storage !== undefined && storage.digest === content.md5;
  for (const claim of claims) {
    const { answer, why } = compare(claim, content, isStored);
    if (answer === "agrees") agreeing++;
    else if (answer === "differs") wrong ??= { claim, why };
    else unknown = why;
  }
  if (wrong !== null) {
    return {
      verdict: agreeing > 0 ? "record" : "bad",
      why: wrong.why,
      claim: wrong.claim,
    };
  }
  const claim = claims[0]!;
  return agreeing > 0
    ? { verdict: "ok", why: "", claim }
    : { verdict: "unknown", why: unknown, claim };
}

function compare(
  claim: Claim,
  content: RevisionContent,
  isStored: boolean,
): { answer: Answer; why: string } {
  const keywords = keywordMode(claim.type | claim.lbrType);
  if (claim.digest === "") return compareSize(claim, content, keywords);
  if (claim.digest === content.md5) return { answer: "agrees", why: "" };
  const why = `MD5 ${content.md5} (${content.sizeBytes} bytes), the record has ` +
    `${claim.digest}${claim.sizeBytes >= 0 ? ` (${claim.sizeBytes} bytes)` : ""}`;
  if (claim.hasCharset) {
    return { answer: "unknown", why: "its digest is of another character set" };
  }
  if (keywords === "none" || claim.kind === "storage") return { answer: "differs", why };
  const text = content.text();
  if (text === null) {
    return { answer: "unknown", why: "too large to expand its keywords" };
  }
  const expanded = keywords === "ko" ? expandKo(text, claim) : expandK(text, claim);
  if (expanded !== null && md5Of(expanded) === claim.digest) {
    return { answer: "agrees", why: "" };
  }
  // Without a keyword the client's text is the server's, by any user and in any time zone.
  if (keywords === "ko" || !mayHoldKeywords(text)) return { answer: "differs", why };
  if (isStored) return { answer: "agrees", why: "" };
  return { answer: "unknown", why: "its +k keywords cannot be known offline" };
}

/** Without a digest only the size can differ, and only where no keywords change it. */
function compareSize(
  claim: Claim,
  content: RevisionContent,
  keywords: "none" | "ko" | "k",
): { answer: Answer; why: string } {
  const isComparable = claim.sizeBytes >= 0 && !claim.hasCharset &&
    (keywords === "none" || claim.kind === "storage");
  // The storage table writes 0 for "unknown" where it has no digest.
  const isUnknown = claim.kind === "storage" && claim.sizeBytes === 0;
  if (isComparable && !isUnknown && claim.sizeBytes !== content.sizeBytes) {
    return {
      answer: "differs",
      why: `${content.sizeBytes} bytes, the record has ${claim.sizeBytes}`,
    };
  }
  return { answer: "unknown", why: "the record has no digest" };
}

function md5Of(latin1: string): string {
  return createHash("md5").update(Buffer.from(latin1, "latin1")).digest("hex");
}
