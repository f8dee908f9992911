import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { parseDigest } from "./digest.ts";
import { archiveForm, describeType, keywordMode, revisionsKept } from "./file_type.ts";
import { splitFields } from "./journal_scanner.ts";
import type { JournalRow } from "./journal_scanner.ts";
import { hasContent, parseRevRow, parseStorageRow, RowError } from "./rows.ts";

function row(line: string): JournalRow {
  const [version, table, ...fields] = splitFields(line.slice(5));
  return { op: "pv", version: Number(version), table: table!, fields };
}

const REV = "@pv@ 9 @db.rev@ @//depot/jam/Build.com@ 3 0 1 10205 1160448597 1407433472 " +
  "kN7PfechOEY9TtpJkFxZhw 1115 0 0 @//depot/jam/Build.com@ @1.9855@ 0 ";

Deno.test("parseRevRow() reads version 9, with a digest in base64", () => {
  deepStrictEqual(parseRevRow(row(REV)), {
    depotFile: "//depot/jam/Build.com",
    depotRev: 3,
    type: 0,
    action: 1,
    change: 10205,
    digest: "90decf7de72138463d4eda49905c5987",
    sizeBytes: 1115,
    isLazy: false,
    hasCharset: false,
    lbrFile: "//depot/jam/Build.com",
    lbrRev: "1.9855",
    lbrType: 0,
  });
});

Deno.test("parseRevRow() reads the 11 columns of 2004.1", () => {
  const rev = parseRevRow(row(
    "@pv@ 3 @db.rev@ @//d/f@ 2 0 1 7 1 2 F1C9645DBC14EFDDC7D8A322685F26EB @//d/f@ @1.7@ 0 ",
  ));
  deepStrictEqual([rev.lbrFile, rev.lbrRev, rev.sizeBytes, rev.isLazy], [
    "//d/f",
    "1.7",
    -1,
    false,
  ]);
});

Deno.test("parseRevRow() takes columns that a later version appends", () => {
  strictEqual(
    parseRevRow(row(REV.replace("@pv@ 9", "@pv@ 12") + "5 @x@ ")).change,
    10205,
  );
});

Deno.test("parseRevRow() tells the lazy bit from the character set in the same column", () => {
  const lazy = (value: number): [boolean, boolean] => {
    const rev = parseRevRow(row(REV.replace(" 1115 0 0 ", ` 1115 0 ${value} `)));
    return [rev.isLazy, rev.hasCharset];
  };
  deepStrictEqual([lazy(0), lazy(1), lazy(16777216), lazy(469762049)], [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ]);
});

Deno.test("parseRevRow() refuses rows that are cut, or have no sense", () => {
  const bad = [
    REV.replace(" @1.9855@ 0 ", " "),
    REV.replace(" 3 0 1 ", " three 0 1 "),
    REV.replace("kN7PfechOEY9TtpJkFxZhw", "kN7Pfech"),
    REV.replace("//depot/jam/Build.com@ @1", "depot/jam@ @1"),
    REV.replace("//depot/jam/Build.com@ @1", "//depot/../etc@ @1"),
    REV.replace("1.9855", "../../x"),
    REV.replace("@pv@ 9", "@pv@ 7"),
  ];
  for (const line of bad) throws(() => parseRevRow(row(line)), RowError, line);
});

Deno.test("hasContent() is false for delete, move/delete, purge and archive", () => {
  const actions = Array.from({ length: 10 }, (_, action) => action);
  const without = actions.filter((action) =>
    !hasContent(parseRevRow(row(REV.replace(" 3 0 1 ", ` 3 0 ${action} `))))
  );
  deepStrictEqual(without, [2, 6, 7, 9]);
});

Deno.test("parseRevRow() asks nothing of the archive of a deleted revision", () => {
  const deleted = REV.replace(" 3 0 1 ", " 3 0 2 ")
    .replace("@//depot/jam/Build.com@ @1.9855@", "@@ @@");
  strictEqual(parseRevRow(row(deleted)).lbrFile, "");
});

Deno.test("parseStorageRow() reads a row of 2020.2", () => {
  deepStrictEqual(
    parseStorageRow(row(
      "@pv@ 1 @db.storage@ @//depot/path1/data1.dat@ @1.1@ 65539 1 " +
        "F1C9645DBC14EFDDC7D8A322685F26EB 10485760 10221 " +
        "00000000000000000000000000000000 1611008038 ",
    )),
    {
      lbrFile: "//depot/path1/data1.dat",
      lbrRev: "1.1",
      lbrType: 65539,
      refCount: 1,
      digest: "f1c9645dbc14efddc7d8a322685f26eb",
      sizeBytes: 10485760,
      serverSizeBytes: 10221,
      compressedDigest: "",
    },
  );
});

Deno.test("parseDigest() reads hex and base64, and null as empty", () => {
  strictEqual(parseDigest("0".repeat(32)), "");
  strictEqual(parseDigest("A".repeat(22)), "");
  strictEqual(parseDigest("+W8q7PcfZ3YGVs8PZQ2mcw"), "f96f2aecf71f67760656cf0f650da673");
  throws(() => parseDigest("x".repeat(32)), RangeError);
  throws(() => parseDigest("+W8q7PcfZ3YGVs8PZQ2mc/"), RangeError);
});

Deno.test("archiveForm() follows the low four bits", () => {
  deepStrictEqual(
    [0x0, 0x3, 0x10003, 0x10083, 0x10001, 0x20010, 0x10002, 0x8, 0xc].map(archiveForm),
    ["rcs", "gzip", "gzip", "gzip", "plain", "rcs", "tiny", "external", null],
  );
});

Deno.test("keywordMode() and revisionsKept() read their bits", () => {
  deepStrictEqual([0x10003, 0x10, 0x30, 0x20].map(keywordMode), ["none", "ko", "k", "k"]);
  deepStrictEqual([0x3, 0x83, 0x983, 0xa83, 0xf83].map(revisionsKept), [
    null,
    1,
    10,
    16,
    512,
  ]);
});

Deno.test("describeType() writes types as p4 does", () => {
  deepStrictEqual(
    [0, 0x10, 0x30, 0x10003, 0x10043, 0x20000, 0x1080000, 0x1060000, 0x10183, 0x40000]
      .map(describeType),
    [
      "text",
      "text+ko",
      "text+k",
      "binary",
      "binary+l",
      "text+x",
      "utf16",
      "utf8+x",
      "binary+S2",
      "symlink",
    ],
  );
});
