import { deepStrictEqual, ok } from "node:assert/strict";
import { SeenPaths } from "./seen_paths.ts";

Deno.test("SeenPaths holds what was added, also while it grows, and nothing else", () => {
  const seen = new SeenPaths(7);
  const path = (i: number): string => `depot/d${i % 90}/file_${i},v`;
  const count = 50_000;
  for (let i = 0; i < count; i++) {
    seen.add(path(i));
    seen.add(path(i));
  }
  const lost = [];
  const invented = [];
  for (let i = 0; i < count; i++) if (!seen.has(path(i))) lost.push(i);
  for (let i = count; i < 2 * count; i++) if (seen.has(path(i))) invented.push(i);
  deepStrictEqual(lost, []);
  deepStrictEqual(invented, []);
});

Deno.test("SeenPaths tells paths apart that differ in one byte", () => {
  const seen = new SeenPaths(-1);
  seen.add("a/b,v");
  for (const other of ["a/c,v", "a/b,w", "b/b,v", "a/b,", "a/b,v\0", "A/b,v", ""]) {
    ok(!seen.has(other), other);
  }
});
