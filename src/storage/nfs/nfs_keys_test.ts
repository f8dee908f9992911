import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import { objectKeyOf } from "../../core/names.ts";
import {
  keyOfStoredPath,
  keyPrefixOf,
  keyProblem,
  storedDirectoryOf,
  storedPathOf,
} from "./nfs_keys.ts";

const stored = (key: string): string => storedPathOf(objectKeyOf(key));

Deno.test("storedPathOf() keeps the names that p4d gives its archives", () => {
  for (
    const key of [
      "depot/main/foo.c,v",
      "depot/main/foo.c,v.p4cv-0123456789abcdef",
      "depot/main/art.psd,d/1.1",
      "depot/main/art.psd,d/1.1.gz",
    ]
  ) {
    strictEqual(stored(key), key);
  }
});

Deno.test("storedPathOf() marks what could need a name both as file and as directory", () => {
  const table: Readonly<Record<string, string>> = {
    "a": "a^f",
    "a/b": "a/b^f",
    "a,v": "a,v",
    "a,v/b": "a,v^d/b^f",
    "a,d": "a,d^f",
    "a,d/b": "a,d/b",
    "a,d/b/c": "a,d/b^d/c^f",
    "a^f": "a^f^f",
    "a^f/b": "a^f^d/b^f",
    "a^c/b,v": "a^c^d/b,v",
    "x,d/a^d": "x,d/a^d^f",
    "x,d/.nfs0001": "x,d/.nfs0001^f",
    ".nfs0001,v": ".nfs0001,v^f",
  };
  for (const [key, path] of Object.entries(table)) strictEqual(stored(key), path);
});

Deno.test("storedPathOf() cuts names that are longer than a file system takes", () => {
  const key = `${"\u65e5".repeat(200)},v`;
  const names = stored(key).split("/");
  ok(names.length > 1);
  for (const name of names) ok(new TextEncoder().encode(name).length <= 255, name);
  for (const name of names.slice(0, -1)) match(name, /\^c$/);
  strictEqual(keyOfStoredPath(names.join("/")), key);
});

Deno.test("storedPathOf() never makes a . or .. of a long name", () => {
  for (let length = 190; length < 700; length++) {
    for (const end of [".", ".."]) {
      for (const name of stored(`${"n".repeat(length)}${end}/x,v`).split("/")) {
        ok(name !== "." && name !== "..", `${length} ${end}`);
      }
    }
  }
});

/** Names made of the parts that mean something to the mapping. */
const segments = fc.array(
  fc.constantFrom(
    ...["a", "b", ",v", ",d", "^f", "^d", "^c", ".nfs", "..", ".p4cv-0123456789abcdef"],
    ...["\u65e5", "\u{1f3ae}", "n".repeat(120), "%", " ", "\\"],
  ),
  { minLength: 1, maxLength: 5 },
).map((parts) => parts.join(""));
const keys = fc.array(segments, { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join("/"))
  .filter((key) => keyProblem(key) === null);

Deno.test("keyOfStoredPath() undoes storedPathOf() for every key", () => {
  fc.assert(fc.property(keys, (key) => keyOfStoredPath(stored(key)) === key), {
    numRuns: 3_000,
  });
});

Deno.test("two keys never share a file, nor one's file the other's directory", () => {
  fc.assert(
    fc.property(keys, keys, (one, other) => {
      if (one === other) return true;
      const [a, b] = [stored(one), stored(other)];
      return a !== b && !a.startsWith(`${b}/`) && !b.startsWith(`${a}/`);
    }),
    { numRuns: 10_000 },
  );
});

Deno.test("storedDirectoryOf() holds every key that begins with the prefix", () => {
  fc.assert(
    fc.property(keys, fc.nat(), (key, cut) => {
      const prefix = key.slice(0, cut % (key.length + 1));
      if (!prefix.isWellFormed()) return true;
      const directory = storedDirectoryOf(prefix);
      return directory === "" || stored(key).startsWith(`${directory}/`);
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("keyPrefixOf() is what the key of every file below a directory begins with", () => {
  fc.assert(fc.property(keys, (key) => {
    const names = stored(key).split("/");
    for (let depth = 1; depth < names.length; depth++) {
      const prefix = keyPrefixOf(names.slice(0, depth).join("/"));
      ok(key.startsWith(prefix), `${key} ${prefix}`);
    }
  }));
  // As much as the directory tells, so that no other is read.
  deepStrictEqual(
    ["a", "a/b,v^d", "x,d/b^d", "long^c", "long^c/er", "a/long^c/long^c"].map(
      keyPrefixOf,
    ),
    ["a/", "a/b,v/", "x,d/b/", "long", "longer/", "a/longlong"],
  );
});

Deno.test("keyOfStoredPath() knows no key for a file that is not ours", () => {
  for (const path of ["README", "a/b.txt", ".p4cache-tmp/x^f", "x,d/y^d", "a^c"]) {
    strictEqual(keyOfStoredPath(path), null, path);
  }
});

Deno.test("keyProblem() names what is wrong with a key", () => {
  const bad = ["", "/a", "a//b", "a/", "./a", "a/..", "a\0", "\ud800", ".p4cache/x"];
  deepStrictEqual(bad.filter((key) => keyProblem(key) === null), []);
  deepStrictEqual([".p4cache-bytes/%FF", "...", "a.b", ".a"].map(keyProblem), [
    null,
    null,
    null,
    null,
  ]);
});
