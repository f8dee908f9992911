import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type RcsBytes, type RcsLayout, readRcsLayout } from "./rcs_layout.ts";
import { walkRevisions } from "./rcs_reader.ts";

function bytesOf(text: string): RcsBytes {
  const held = Uint8Array.from(text, (char) => char.charCodeAt(0));
  return {
    sizeBytes: held.length,
    window: (offset, lengthMax) => held.subarray(offset, offset + lengthMax),
  };
}

function read(text: string): {
  layout: RcsLayout;
  texts: Record<string, string>;
  failed: Record<string, string>;
} {
  const bytes = bytesOf(text);
  const layout = readRcsLayout(bytes);
  const texts: Record<string, string> = {};
  const wanted = new Set(layout.revisions.keys());
  const limits = { textBytesMax: 1 << 20 };
  const { failed } = walkRevisions(bytes, layout, wanted, limits, (revision, text) => {
    texts[revision] = String.fromCharCode(...text.toBytes());
  });
  const why = [...failed].map(([revision, error]) => [revision, error.fault]);
  return { layout, texts, failed: Object.fromEntries(why) };
}

const ADMIN = "head     1.3;\naccess   ;\nsymbols  ;\nlocks    ;comment  @@;\n\n\n";

function delta(number: string, next: string, branches = ""): string {
  return `${number}\ndate     2014.04.09.14.20.24;  author p4;  state Exp;\n` +
    `branches ${branches};\nnext     ${next};\n\n`;
}

function text(number: string, body: string): string {
  return `\n\n${number}\nlog\n@@\ntext\n@${body}@\n`;
}

/** As p4d writes it. */
const P4 = ADMIN + delta("1.3", "1.2") + delta("1.2", "1.1") + delta("1.1", "") +
  "desc\n@@\n" +
  text("1.3", "one\ntwo@@x\nthree\n") + text("1.2", "d2 1\na2 2\nzwei\nzwo\n") +
  text("1.1", "d1 2\na3 1\nlast\n");

Deno.test("walkRevisions() rebuilds a file that p4d wrote", () => {
  const { layout, texts, failed } = read(P4);
  strictEqual(layout.damage, null);
  deepStrictEqual(failed, {});
  deepStrictEqual(texts, {
    "1.3": "one\ntwo@x\nthree\n",
    "1.2": "one\nzwei\nzwo\nthree\n",
    "1.1": "zwo\nlast\nthree\n",
  });
});

Deno.test("walkRevisions() reads counted texts", () => {
  const counted = P4.replace(
    "@one\ntwo@@x\nthree\n@",
    "%16\none\ntwo@x\nthree\n",
  );
  deepStrictEqual(read(counted).texts["1.3"], "one\ntwo@x\nthree\n");
});

Deno.test("walkRevisions() follows branches forward, and texts in any order", () => {
  const branched = "head 1.2;\naccess;\nsymbols a:1.1;\nlocks u:1.2; strict;\n\n" +
    delta("1.2", "1.1") + delta("1.1", "", "1.1.1.1") + delta("1.1.1.1", "") +
    "desc\n@text@\n" +
    text("1.1.1.1", "a1 1\nbranch\n") + text("1.1", "d1 1\na1 1\nold\n") +
    text("1.2", "new\n");
  deepStrictEqual(read(branched).texts, {
    "1.2": "new\n",
    "1.1": "old\n",
    "1.1.1.1": "old\nbranch\n",
  });
});

Deno.test("readRcsLayout() keeps the first of two texts of a revision", () => {
  const doubled = P4 + text("1.3", "other\n");
  strictEqual(read(doubled).texts["1.3"], "one\ntwo@x\nthree\n");
});

Deno.test("readRcsLayout() keeps the state of a revision that was obliterated", () => {
  const { layout } = read(P4.replace("state Exp", "state deleted"));
  strictEqual(layout.revisions.get("1.3")?.state, "deleted");
});

Deno.test("readRcsLayout() reads a file without revisions", () => {
  const { layout } = read("head ;\naccess ;\nsymbols ;\nlocks ; strict;\n\n\ndesc\n@@\n");
  deepStrictEqual([layout.head, layout.revisions.size, layout.damage], [null, 0, null]);
});

Deno.test("a damaged delta spoils what follows from it, and nothing before", () => {
  const { texts, failed } = read(P4.replace("d2 1", "d9 1"));
  deepStrictEqual(Object.keys(texts), ["1.3"]);
  deepStrictEqual(failed, { "1.2": "delta", "1.1": "delta" });
});

Deno.test("a loop in the chain ends", () => {
  const { failed, texts } = read(P4.replace("next     ;", "next     1.3;"));
  deepStrictEqual([Object.keys(texts).length, Object.keys(failed).length], [3, 0]);
  const looped = P4.replace("next     1.1;", "next     1.3;");
  deepStrictEqual(read(looped).failed, { "1.1": "chain" });
});

Deno.test("edits that do not ascend, count nothing or are cut off are refused", () => {
  for (
    const script of ["d2 1\nd1 1", "a1 0", "d0 1", "a4 1\nx", "a1 3\nx\ny", "x1 1", "d1"]
  ) {
    const { failed } = read(P4.replace("d2 1\na2 2\nzwei\nzwo\n", script));
    strictEqual(failed["1.2"], "delta", script);
  }
});

Deno.test("every truncation is noticed", () => {
  const end = P4.trimEnd().length;
  for (let cut = 0; cut < end; cut++) {
    const { layout, failed } = read(P4.slice(0, cut));
    // A file cut just after a revision's text is whole but for the revisions that follow.
    const isWhole = layout.damage === null && Object.keys(failed).length === 0;
    strictEqual(isWhole, false, `cut at ${cut}`);
  }
});
