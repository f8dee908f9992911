import { strictEqual, throws } from "node:assert/strict";
import { ListedKeys } from "./listed_keys.ts";

Deno.test("ListedKeys have what was added, and nothing that differs in one character", () => {
  const keys = new ListedKeys();
  const count = 100_000;
  for (let i = 0; i < count; i += 2) keys.add(`depot/main/src/file-${i}.c,v`);
  for (let i = 0; i < count; i++) {
    strictEqual(keys.has(`depot/main/src/file-${i}.c,v`), i % 2 === 0, String(i));
  }
  strictEqual(keys.has(""), false);
  throws(() => keys.add("late,v"), /asked already/);
});

Deno.test("ListedKeys of nothing have nothing", () =>
  strictEqual(new ListedKeys().has("a,v"), false));
