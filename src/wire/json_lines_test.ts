import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { textOfBytes } from "../core/names.ts";
import {
  encodeJsonLine,
  LINE_CHARACTERS_MAX,
  LineSplitter,
  Members,
} from "./json_lines.ts";
import { WireError } from "./wire_error.ts";

const ascii = new TextEncoder();

Deno.test("encodeJsonLine() writes every byte as printable ASCII, and JSON reads it back", () => {
  const bytes = textOfBytes(Uint8Array.from({ length: 256 }, (_, i) => i));
  const line = encodeJsonLine({ path: bytes });
  equal(/^[\x20-\x7e]+\n$/.test(line), true);
  equal(JSON.parse(line).path, bytes);
  equal(encodeJsonLine({ a: "\xe9\x7f" }), '{"a":"\\u00e9\\u007f"}\n');
});

Deno.test("LineSplitter gives the same lines however the pipe cuts them", () => {
  fc.assert(fc.property(
    fc.array(fc.string({ unit: fc.constantFrom("a", "b", "{", "0") })),
    fc.array(fc.nat(12)),
    (lines, cuts) => {
      const bytes = ascii.encode(lines.map((line) => `${line}\n`).join(""));
      const splitter = new LineSplitter();
      const seen: string[] = [];
      let at = 0;
      for (const cut of cuts) {
        seen.push(...splitter.push(bytes.subarray(at, at + cut)));
        at += cut;
      }
      seen.push(...splitter.push(bytes.subarray(at)));
      deepEqual(seen, lines);
    },
  ));
});

Deno.test("LineSplitter keeps what has no line feed yet, up to its bound", () => {
  const splitter = new LineSplitter();
  deepEqual(splitter.push(ascii.encode("a".repeat(LINE_CHARACTERS_MAX))), []);
  throws(() => splitter.push(ascii.encode("a")), WireError);
});

Deno.test("Members refuses what is no object, and members of another type", () => {
  for (const line of ["", "[1]", "null", "1", '{"a":', "{} {}"]) {
    throws(() => new Members(line), WireError, line);
  }
  const m = new Members('{"s":"x","n":-1,"f":1.5,"b":0,"z":null}');
  equal(m.text("s"), "x");
  equal(m.textOrNull("z"), null);
  equal(m.countOrNull("z"), null);
  throws(() => m.text("z"), WireError);
  throws(() => m.count("n"), WireError);
  throws(() => m.count("f"), WireError);
  throws(() => m.count("missing"), WireError);
  throws(() => m.flag("b"), WireError);
  throws(() => m.oneOf("s", ["y"]), WireError);
});
