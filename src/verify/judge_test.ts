import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Claim } from "./claims.ts";
import { judgeContent, type RevisionContent } from "./judge.ts";

function md5(text: string): string {
  return createHash("md5").update(text).digest("hex");
}

function content(text: string): RevisionContent {
  return { md5: md5(text), sizeBytes: text.length, text: () => text };
}

function claim(facts: Partial<Claim>): Claim {
  return {
    kind: "submitted",
    lbrFile: "//d/f",
    lbrRev: "1.1",
    lbrType: 0,
    form: "rcs",
    type: 0,
    depotFile: "//d/f",
    depotRev: 1,
    action: 0,
    change: 1,
    digest: "",
    sizeBytes: -1,
    isLazy: false,
    hasCharset: false,
    refCount: 1,
    serverSizeBytes: -1,
    compressedDigest: "",
    rows: 1,
    ...facts,
  };
}

const verdictOf = (claims: readonly Claim[], text: string): string =>
  judgeContent(claims, content(text)).verdict;

Deno.test("judgeContent() compares digests", () => {
  strictEqual(verdictOf([claim({ digest: md5("abc") })], "abc"), "ok");
  strictEqual(verdictOf([claim({ digest: md5("abc") })], "abd"), "bad");
});

Deno.test("judgeContent() without a digest knows only a wrong size", () => {
  strictEqual(verdictOf([claim({ sizeBytes: 3 })], "abc"), "unknown");
  strictEqual(verdictOf([claim({ sizeBytes: 4 })], "abc"), "bad");
  strictEqual(verdictOf([claim({})], "abc"), "unknown");
  strictEqual(verdictOf([claim({ sizeBytes: 4, type: 0x10 })], "abc"), "unknown");
});

Deno.test("judgeContent() calls the row wrong where another row agrees", () => {
  const good = claim({ digest: md5("abc") });
  const wrong = claim({ digest: md5("xyz"), depotFile: "//d/copy" });
  const judged = judgeContent([good, wrong], content("abc"));
  deepStrictEqual([judged.verdict, judged.claim.depotFile], ["record", "//d/copy"]);
});

Deno.test("judgeContent() expands +ko, and calls another digest bad", () => {
  const expanded = md5("$Id: //d/f#1 $\n");
  strictEqual(verdictOf([claim({ type: 0x10, digest: expanded })], "$Id$\n"), "ok");
  strictEqual(verdictOf([claim({ type: 0x10, digest: md5("?") })], "$Id$\n"), "bad");
  const copy = claim({ type: 0x10, digest: expanded, depotFile: "//d/copy" });
  strictEqual(verdictOf([copy], "$Id$\n"), "bad");
});

Deno.test("judgeContent() never calls +k bad by its own row", () => {
  const row = claim({ type: 0x20, digest: md5("$Author: bruno $\n") });
  strictEqual(verdictOf([row], "$Author$\n"), "unknown");
  const plain = claim({ type: 0x20, digest: md5("$Change: 1 $\n") });
  strictEqual(verdictOf([plain], "$Change$\n"), "ok");
});

Deno.test("judgeContent() calls a +k text bad that holds no keyword", () => {
  const row = claim({ type: 0x20, digest: md5("$Author: bruno $\n"), sizeBytes: 17 });
  for (const text of ["", "\0".repeat(17), "cut $Auth", "$1.00 and $2.00\n"]) {
    strictEqual(verdictOf([row], text), "bad", JSON.stringify(text));
  }
  strictEqual(verdictOf([row], "$Unheard: of $\n"), "unknown");
  const tooLarge = { ...content("x"), text: (): null => null };
  strictEqual(judgeContent([row], tooLarge).verdict, "unknown");
});

Deno.test("judgeContent() settles +k by the storage table, which knows the text itself", () => {
  const row = claim({ type: 0x20, digest: md5("$Author: bruno $\n") });
  const storage = (text: string): Claim => claim({ kind: "storage", digest: md5(text) });
  strictEqual(verdictOf([row, storage("$Author$\n")], "$Author$\n"), "ok");
  strictEqual(verdictOf([row, storage("other\n")], "$Author$\n"), "bad");
});

Deno.test("judgeContent() does not judge by a digest of another character set", () => {
  strictEqual(verdictOf([claim({ digest: md5("é"), hasCharset: true })], "e"), "unknown");
});
