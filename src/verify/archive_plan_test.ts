import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { archiveForm } from "../perforce/file_type.ts";
import { planArchive } from "./archive_plan.ts";
import type { Claim } from "./claims.ts";

function claim(rev: number, lbrType: number, facts: Partial<Claim> = {}): Claim {
  return {
    kind: "submitted",
    lbrFile: "//d/f",
    lbrRev: `1.${rev}`,
    lbrType,
    form: archiveForm(lbrType),
    type: lbrType,
    depotFile: "//d/f",
    depotRev: rev,
    action: 0,
    change: rev,
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

const plan = (claims: readonly Claim[]): ReturnType<typeof planArchive> =>
  planArchive(claims, "d/f", (path) => [path]);

Deno.test("planArchive() puts text revisions into one file, and others into their own", () => {
  const { files } = plan([
    claim(1, 0),
    claim(2, 0),
    claim(3, 0x10003),
    claim(4, 0x10001),
  ]);
  deepStrictEqual(files.map((it) => [it.names, it.revisions.length]), [
    [["d/f,v"], 2],
    [["d/f,d/1.3.gz", "d/f,d/1.3"], 1],
    [["d/f,d/1.4", "d/f,d/1.4.gz"], 1],
  ]);
});

Deno.test("planArchive() tries each spelling of each name", () => {
  const { files } = planArchive([claim(1, 3)], "d/F", (it) => [it.toLowerCase(), it]);
  deepStrictEqual(files[0]!.names, [
    "d/f,d/1.1.gz",
    "d/F,d/1.1.gz",
    "d/f,d/1.1",
    "d/F,d/1.1",
  ]);
});

const excuses = (claims: readonly Claim[]): unknown[] =>
  plan(claims).files.flatMap((file) => file.revisions.map((it) => it.excuse));

Deno.test("planArchive() excuses what +S has purged: all but the newest of each file", () => {
  deepStrictEqual(excuses([1, 2, 3].map((rev) => claim(rev, 0x83))), [
    "purged",
    "purged",
    null,
  ]);
  deepStrictEqual(excuses([1, 2, 3].map((rev) => claim(rev, 0x183))), [
    "purged",
    null,
    null,
  ]);
});

Deno.test("planArchive() purges submitted revisions of +S alone, and by each other", () => {
  const head = claim(2, 0x83);
  const others = (["shelved", "pending", "spec", "unloaded", "archived"] as const).map(
    (kind, index) => claim(3 + index, 0x83, { kind, lbrRev: `1.9${index}` }),
  );
  deepStrictEqual(excuses([claim(1, 0x83), head, ...others]), [
    "purged",
    null,
    null,
    "pending",
    null,
    null,
    null,
  ]);
  // Begun from an older revision, or from the head.
  const shelves = [1, 2].map((rev) =>
    claim(rev, 0x83, { kind: "shelved", lbrRev: `1.8${rev}` })
  );
  deepStrictEqual(excuses([head, ...shelves]), [null, null, null]);
});

Deno.test("planArchive() demands a purged archive that a lazy copy still needs", () => {
  const copy = claim(1, 3, { depotFile: "//d/copy", isLazy: true });
  deepStrictEqual(excuses([claim(1, 0x83), copy, claim(2, 0x83)]), [null, null]);
});

Deno.test("planArchive() excuses pending and unreferenced archives, and no others", () => {
  deepStrictEqual(
    excuses([
      claim(1, 3, { kind: "pending" }),
      claim(2, 3, { kind: "storage", refCount: 0 }),
      claim(3, 3, { kind: "storage", refCount: 1 }),
      claim(4, 3, { kind: "shelved" }),
    ]),
    ["pending", "unreferenced", null, null],
  );
});

Deno.test("planArchive() expects no file of +X, tiny and unknown forms", () => {
  const { files, external, unverifiable } = plan([
    claim(1, 8),
    claim(2, 2),
    claim(3, 12),
  ]);
  deepStrictEqual([files.length, external, unverifiable.length], [0, 1, 2]);
  strictEqual(unverifiable[0]!.why, "it is stored in tiny.db");
});
