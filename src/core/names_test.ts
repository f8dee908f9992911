import { deepStrictEqual, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  bytePathOf,
  depotPathOrNull,
  displayPath,
  firstKeyFor,
  isManaged,
  isPlainPath,
  isUnmanageable,
  parseDepotPath,
  PathError,
  pathOfKey,
  unescapeBytes,
} from "./names.ts";

function faultOf(text: string): string | null {
  try {
    strictEqual(parseDepotPath(text), text);
    return null;
  } catch (error) {
    if (!(error instanceof PathError)) throw error;
    return error.fault;
  }
}

Deno.test("parseDepotPath() takes what lies below the depot, and nothing else", () => {
  const cases: [string, string | null][] = [
    ["a", null],
    ["a/b,v", null],
    ["...", null],
    ["a/..b/.c/d..", null],
    [".p4cachex/a", null],
    ["", "empty"],
    ["/a", "absolute"],
    ["a//b", "segment"],
    ["a/", "segment"],
    [".", "segment"],
    ["..", "segment"],
    ["./a", "segment"],
    ["a/./b", "segment"],
    ["a/../b", "segment"],
    ["a/..", "segment"],
    ["a/.", "segment"],
    ["a\nb", "newline"],
    ["a\0b", "nul"],
    ["x".repeat(3_901), "long"],
    [".p4cache", "reserved"],
    [".p4cache/tmp/x", "reserved"],
  ];
  deepStrictEqual(cases.map(([text]) => [text, faultOf(text)]), cases);
});

Deno.test("isManaged() takes archives, and never what is the server's own", () => {
  const cases: [string, boolean, boolean][] = [
    // path, "archives", "all"
    ["a,v", true, true],
    ["d/a,v", true, true],
    [",v", false, true],
    ["d/,v", false, true],
    ["a,d/1.1.gz", true, true],
    ["d/a,d/1.1", true, true],
    ["d/a,d/e/1.1", false, true],
    ["a,d", false, true],
    ["readme", false, true],
    ["server.locks/a,v", false, false],
    ["server.locks", false, false],
    ["server.locks/clients/88,d/c", false, false],
    ["server.locks2/a,v", true, true],
    // Clients name files and directories as they like.
    ["d/server.locks/a,v", true, true],
    ["d/server.locks/a,d/1.2", true, true],
    ["d/server.locks/a,d/12.34.gz", true, true],
    ["d/server.locks/clients/88,d/c", false, false],
    ["d/server.locks/a,d/1.2.gzip", false, false],
    ["d/server.locks/a", false, false],
    ["d/server.locks", false, true],
    ["d/tmp.1,v", true, true],
    ["d/tmp.txt,v", true, true],
    ["db.sql,v", true, true],
    ["d/journal,v", true, true],
    ["d/journal.c,v", true, true],
    ["d/checkpoint.py,v", true, true],
    ["d/x.jnl.y,v", true, true],
    ["d/x.ckp.y,v", true, true],
    ["d/yarn.lck,v", true, true],
    ["d/checkpoint.pt,d/1.3.gz", true, true],
    // No history: nothing stands before the comma, or something behind the v.
    ["d/db.sql,v.lck", false, false],
    ["d/tmp.a,v.p4cache-bad", false, false],
    ["d/a,d/tmp.12.3", false, false],
    ["d/tmp.12.3", false, false],
    ["db.rev", false, false],
    ["d/a.lck", false, false],
    ["checkpoint.1", false, false],
    ["journal", false, false],
    ["server.jnl.3", false, false],
  ];
  const found = cases.map(([text]) => {
    const path = parseDepotPath(text);
    return [text, isManaged(path, "archives"), isManaged(path, "all")];
  });
  deepStrictEqual(found, cases);
});

Deno.test("isUnmanageable() names what only its length or a line feed keeps from a row", () => {
  const long = "x".repeat(3_901);
  const cases: [string, boolean, boolean][] = [
    // path, "archives", "all"
    [`${long},v`, true, true],
    [`${long},d/1.1`, true, true],
    [long, false, true],
    [`server.locks/${long},v`, false, false],
    [`.p4cache/${long},v`, false, false],
    [`tmp.${long}`, false, false],
    ["d/a\nb,v", true, true],
    ["d\n/a", false, true],
    ["d/a,v", false, false],
    ["d/../a,v", false, false],
    ["", false, false],
  ];
  deepStrictEqual(
    cases.map(([text]) => [
      text,
      isUnmanageable(text, "archives"),
      isUnmanageable(text, "all"),
    ]),
    cases,
  );
});

Deno.test("isPlainPath() is true only of a path that is the key of its own first version", () => {
  const part = fc.constantFrom(
    "a",
    " ",
    ".",
    "/",
    "\\",
    "\x7f",
    "\xc3",
    "\xa9",
    ",v",
    ".p4c",
  );
  const text = fc.oneof(
    fc.array(part, { maxLength: 6 }).map((parts) => parts.join("")),
    fc.constantFrom(
      "a,v.p4cv-0123456789abcdef",
      ".p4cache-bytes/%E9,v",
      `.p4cache-long/${"0".repeat(64)}`,
    ),
  );
  let plainCount = 0;
  fc.assert(
    fc.property(text, (name) => {
      const path = depotPathOrNull(name);
      if (path === null || !isPlainPath(path)) return;
      plainCount += 1;
      strictEqual(pathOfKey(path), path);
      strictEqual(firstKeyFor(path, () => "0"), path);
    }),
    { numRuns: 5_000 },
  );
  strictEqual(plainCount > 100, true);
});

Deno.test("unescapeBytes() of what displayPath() shows is the path, whatever bytes it has", () => {
  const part = fc.constantFrom(
    "a",
    "\\",
    "x41",
    "\\x41",
    "\xc3\xa9",
    "\xe9",
    "\x1b",
    "\xc2\x9b",
  );
  const path = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(path, (bytes) => {
      const shown = displayPath(bytes);
      strictEqual(unescapeBytes(bytePathOf(shown)), bytes);
      strictEqual(shown.includes("\x1b") || shown.includes("\x9b"), false);
    }),
    { numRuns: 5_000 },
  );
});
