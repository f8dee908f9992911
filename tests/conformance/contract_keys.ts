/**
 * The contract: keys, and listings of them.
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  firstKeyFor,
  objectKeyOf,
  parseDepotPath,
  pathOfKey,
} from "../../src/core/names.ts";
import { expectContent, inBatches, keysOf, put, type Test } from "./contract_tools.ts";
import { hashOf, patternBytes } from "./test_bytes.ts";

/** Keys that have broken somebody's store: separators, escapes, other scripts, lengths. */
const NASTY_KEYS = [
  "plain",
  "depot/main/foo.c,v",
  "depot/main/foo.c,v.p4cv-0123456789abcdef",
  "depot/main/art.psd,d/1.1",
  "depot/main/art.psd,d/1.1.gz",
  "depot/main/art.psd,d",
  "with space,v",
  " leading and trailing ",
  "percent%20encoded%2Fslash%",
  "plus+plus,v",
  "hash#fragment",
  "question?query=1&b=2;c=3",
  "colon:at@comma,semicolon;equals=",
  "quotes\"and'more`",
  "<xml>&amp;</xml>",
  "brackets[0]{1}(2)*|^~!$",
  "caret^f",
  "caret^d/inside^c/file^d",
  "Case",
  "case",
  "\u00fcml\u00e4ut/\u65e5\u672c\u8a9e,v",
  "emoji \u{1f3ae}/\u{1f9ca},v",
  "e\u0301 decomposed",
  "\u00e9 composed",
  "a",
  "a/b",
  "a/b/c",
  "a/b,v",
  "a/b,v/c",
  ".hidden/.file",
  ".p4cache-bytes/%FF%FE,v",
  `${"deep/".repeat(100)}leaf,v`,
  `${"n".repeat(254)},v`,
  `${"%E3%83%87".repeat(70)},v`,
  `${"\u65e5".repeat(298)},v/x`,
  "k".repeat(900),
].map(objectKeyOf);

export function testKeys(test: Test): void {
  test("every key is an object of its own, and is listed as it was given", async (backend) => {
    await inBatches(NASTY_KEYS, async (key, i) => {
      await put(backend, key, patternBytes(100 + i, 200 + i));
    });
    await inBatches(NASTY_KEYS, async (key, i) => {
      await expectContent(backend, key, patternBytes(100 + i, 200 + i));
    });
    deepStrictEqual(await keysOf(backend, ""), [...NASTY_KEYS].sort());
    const [gone, ...kept] = NASTY_KEYS;
    await backend.delete({ key: gone! });
    deepStrictEqual(await keysOf(backend, ""), kept.sort());
  });
}

/** Paths of servers that are not in unicode mode, and what else cannot be a key as it is. */
const ODD_PATHS = [
  "depot/caf\xe9.c,v", // latin-1
  "depot/\x83\x65\x83\x58\x83\x67.c,v", // Shift-JIS
  "depot/\xff\xfe\x80,v",
  "depot/\xc3\xa9 is UTF-8,v",
  "depot/back\\slash,v",
  "depot/control\x01\x7f,v",
  "depot/trailing./dot.,v.",
  "depot/%FF percent,v",
  `depot/${"\xe9".repeat(400)}/long,v`,
].map(parseDepotPath);

export function testPaths(test: Test): void {
  test("every path of bytes has an object of its own, and is told by its key", async (backend) => {
    const keys = ODD_PATHS.map((path) =>
      firstKeyFor(path, () => hashOf(new TextEncoder().encode(path)))
    );
    await inBatches(keys, async (key, i) => {
      await put(backend, key, patternBytes(10 + i, 70 + i));
    });
    const listed = await keysOf(backend, "");
    deepStrictEqual(listed, [...keys].sort());
    for (const [i, key] of keys.entries()) {
      await expectContent(backend, key, patternBytes(10 + i, 70 + i));
      // The key of a long path is a hash, which tells nothing.
      if (!key.startsWith(".p4cache-long/")) strictEqual(pathOfKey(key), ODD_PATHS[i]);
    }
  });

  for (const letter of ["k", "\u00fc"]) {
    test(
      `a key of 1,024 bytes in all can be used: ${letter}`,
      async (backend, prefixBytes) => {
        const letterBytes = new TextEncoder().encode(letter).length;
        const wanted = 1_024 - prefixBytes - "a/,v".length;
        const filler = "-".repeat(wanted % letterBytes);
        const key = objectKeyOf(
          `a/${filler}${letter.repeat(Math.floor(wanted / letterBytes))},v`,
        );
        await put(backend, key, patternBytes(10, 80));
        await expectContent(backend, key, patternBytes(10, 80));
        deepStrictEqual(await keysOf(backend, "a/"), [key]);
        await backend.delete({ key });
        strictEqual(await backend.head(key), null);
      },
    );
  }
}

export function testListing(test: Test, listedCount: number): void {
  test("list() of an empty store is empty", async (backend) => {
    deepStrictEqual(await keysOf(backend, ""), []);
    deepStrictEqual(await keysOf(backend, "no/such/"), []);
  });

  test("list() takes a prefix that ends anywhere", async (backend) => {
    const keys = ["a/b,v", "a/bc,v", "a/b/c,v", "ab,v", "b,v"].map(objectKeyOf);
    for (const key of keys) await put(backend, key, patternBytes(3, 40));
    deepStrictEqual(await keysOf(backend, "a"), keys.slice(0, 4).sort());
    deepStrictEqual(await keysOf(backend, "a/"), keys.slice(0, 3).sort());
    deepStrictEqual(await keysOf(backend, "a/b"), keys.slice(0, 3).sort());
    deepStrictEqual(await keysOf(backend, "a/b/"), ["a/b/c,v"]);
    deepStrictEqual(await keysOf(backend, "a/b,v"), ["a/b,v"]);
    deepStrictEqual(await keysOf(backend, "c"), []);
  });

  test(`list() yields each of ${listedCount} objects once, with its size`, async (backend) => {
    const keys = Array.from(
      { length: listedCount },
      (_, i) => objectKeyOf(`d${i % 7}/${i},v`),
    );
    const sizes = new Map(keys.map((key, i) => [key as string, i % 100]));
    await inBatches(keys, async (key) => {
      await put(backend, key, patternBytes(sizes.get(key)!, 41));
    });
    const seen = new Map<string, number>();
    for await (const info of backend.list("d")) {
      ok(!seen.has(info.key), `${info.key} came twice`);
      seen.set(info.key, info.sizeBytes);
    }
    deepStrictEqual([...seen].sort(), [...sizes].sort());
  });

  test("list() ends when its reader leaves, or its signal aborts", async (backend) => {
    const keys = ["1,v", "2,v", "3,v"].map(objectKeyOf);
    for (const key of keys) await put(backend, key, patternBytes(3, 42));
    for await (const info of backend.list("")) {
      ok(info.key.endsWith(",v"));
      break;
    }
    const abort = new AbortController();
    const reason = new Error("enough");
    await rejects(async () => {
      for await (const _ of backend.list("", abort.signal)) abort.abort(reason);
    }, (error) => error === reason);
  });
}
