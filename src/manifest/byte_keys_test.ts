import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { InvariantError } from "../core/assert.ts";
import { afterPrefix, u64At, u64Key, u64PairKey } from "./byte_keys.ts";

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

Deno.test("u64PairKey() is the two keys one after the other", () => {
  for (const value of [0, 1, 255, 2 ** 31, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER]) {
    strictEqual(u64PairKey(value, 3), u64Key(value) + u64Key(3));
    strictEqual(u64PairKey(3, value), u64Key(3) + u64Key(value));
  }
  throws(() => u64PairKey(1, -1), InvariantError);
});
