import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { afterPrefix, u64At, u64Key } from "./byte_keys.ts";

const WHOLE = fc.maxSafeNat();

Deno.test("u64Key() sorts as its numbers do, and comes back", () => {
  fc.assert(fc.property(WHOLE, WHOLE, (a, b) => {
    strictEqual(u64At(`xx${u64Key(a)}`, 2), a);
    strictEqual(u64Key(a) < u64Key(b), a < b);
  }));
});

Deno.test("u64Key() refuses what is no whole number", () => {
  for (const value of [-1, 0.5, NaN, 2 ** 53]) throws(() => u64Key(value));
});

Deno.test("afterPrefix() is above each key with the prefix, and below all others above", () => {
  const byteText = fc.string({ unit: fc.nat(255).map((c) => String.fromCharCode(c)) });
  fc.assert(fc.property(byteText, byteText, (prefix, rest) => {
    const end = afterPrefix(prefix);
    ok(end === null || prefix + rest < end);
    ok(end === null || !(prefix < rest && rest < end) || rest.startsWith(prefix));
  }));
  deepStrictEqual([afterPrefix(""), afterPrefix("\xff\xff")], [null, null]);
  strictEqual(afterPrefix("a\xff"), "b");
});
