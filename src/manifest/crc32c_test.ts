import { notStrictEqual, strictEqual } from "node:assert/strict";
import { crc32cOf, crc32cWithin } from "./crc32c.ts";

Deno.test("crc32cOf() gives the published check value of CRC-32C", () => {
  strictEqual(crc32cOf("123456789", new Uint8Array(), 0), 0xe3069283);
  const bytes = new TextEncoder().encode("123456789xx");
  strictEqual(crc32cOf("", bytes, 9), 0xe3069283);
});

Deno.test("crc32cOf() binds the bytes to their label", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  notStrictEqual(crc32cOf("a,v", bytes, 3), crc32cOf("b,v", bytes, 3));
});

Deno.test("crc32cWithin() is crc32cOf() of the same bytes in one buffer", () => {
  const bytes = new TextEncoder().encode("..labelcontent.");
  const content = new TextEncoder().encode("content");
  strictEqual(crc32cWithin(bytes, 2, 14), crc32cOf("label", content, 7));
});
