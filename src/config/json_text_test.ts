// deno-lint-ignore-file no-console -- the seed of a random test
import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { JsonTextError, parseJsonText } from "./json_text.ts";

/** Where and why a text is refused. */
function complaintOf(text: string): string {
  try {
    parseJsonText(text);
  } catch (error) {
    if (error instanceof JsonTextError) return error.message;
    throw error;
  }
  throw new Error(`${text} was taken`);
}

Deno.test("parseJsonText() reads what JSON.stringify() writes, in any layout", () => {
  const seed = Date.now() % 2 ** 31;
  console.log(`seed ${seed}`);
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 5 }),
      fc.constantFrom(0, 2, "\t"),
      (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        deepStrictEqual(parseJsonText(` ${text}\r\n`), JSON.parse(text));
      },
    ),
    { seed, numRuns: 300 },
  );
});

Deno.test("parseJsonText() refuses every text that JSON.parse() refuses, and no other", () => {
  const seed = Date.now() % 2 ** 31;
  console.log(`seed ${seed}`);
  const pieces = fc.constantFrom(
    ...[
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"b\\n"',
      '"',
      "\\",
      "1",
      "-0.5e3",
      "01",
      "+1",
    ],
    ...["true", "nul", "null", " ", "\n", "//", "'", "NaN", "\u00a0", "1.", ".5"],
  );
  const isTaken = (parse: (text: string) => unknown, text: string): boolean => {
    try {
      parse(text);
      return true;
    } catch {
      return false;
    }
  };
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 8 }), (parts) => {
      const text = parts.join("");
      if (text.split('"a"').length > 2) return; // A key may stand twice for JSON.parse().
      strictEqual(isTaken(parseJsonText, text), isTaken(JSON.parse, text), text);
    }),
    { seed, numRuns: 3_000 },
  );
});

Deno.test("parseJsonText() names line, column and what it found", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["", "line 1, column 1: the file ends where a value is wanted"],
    [
      '{\n  "a": 1,\n}',
      'line 3, column 1: "}" stands where a key in double quotes is wanted',
    ],
    [
      '{\n  "a": 1\n  "b": 2}',
      'line 3, column 3: "\\"" stands where "," or "}" is wanted',
    ],
    ['{"ä€😀": x}', 'line 1, column 9: "x" stands where a value is wanted'],
    ['{"a" 1}', 'line 1, column 6: "1" stands where ":" is wanted'],
    ["[1 2]", 'line 1, column 4: "2" stands where "," or "]" is wanted'],
    ["{} {}", 'line 1, column 4: "{" stands where the end of the file is wanted'],
    [
      '{"a": "b\n"}',
      "line 1, column 7: a text begins here that does not end on its line",
    ],
    ['{"a": "b}', "line 1, column 7: a text begins here that does not end on its line"],
    ['["\\x"]', "line 1, column 2: this text has an escape that JSON does not know"],
    ["{'a': 1}", 'line 1, column 2: "\'" stands where a key in double quotes is wanted'],
    ["// note\n{}", 'line 1, column 1: "/" stands where a value is wanted'],
  ];
  for (const [text, complaint] of cases) strictEqual(complaintOf(text), complaint);
});

Deno.test("parseJsonText() refuses a key that stands twice, in whatever spelling", () => {
  strictEqual(
    complaintOf('{"a": 1,\n "\\u0061": 2}'),
    'line 2, column 2: the key "a" stands here twice',
  );
});

Deno.test("parseJsonText() takes __proto__ for a key like any other", () => {
  const value = parseJsonText('{"__proto__": {"isAdmin": true}}') as {
    isAdmin?: boolean;
  };
  deepStrictEqual(Object.keys(value), ["__proto__"]);
  strictEqual(value.isAdmin, undefined);
});

Deno.test("parseJsonText() ends at a depth that no configuration has", () => {
  throws(() => parseJsonText("[".repeat(100_000)), JsonTextError);
});
