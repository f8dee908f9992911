import { notStrictEqual, strictEqual } from "node:assert/strict";
import {
  crc32cOf,
  entryCrc32,
  entryCrc32Within,
  labelSumsOf,
  sealedSumsOf,
} from "./crc32c.ts";

Deno.test("crc32cOf() gives the published check value of CRC-32C", () => {
  strictEqual(crc32cOf("123456789", new Uint8Array(), 0), 0xe3069283);
  const bytes = new TextEncoder().encode("123456789xx");
  strictEqual(crc32cOf("", bytes, 9), 0xe3069283);
});

Deno.test("crc32cOf() binds the bytes to their label", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  notStrictEqual(crc32cOf("a,v", bytes, 3), crc32cOf("b,v", bytes, 3));
});

Deno.test("entryCrc32Within() is entryCrc32() of the same entry in one buffer", () => {
  const bytes = new TextEncoder().encode("..keyvalue.");
  const within = entryCrc32Within(bytes, 2, 10);
  strictEqual(within, entryCrc32("key", new TextEncoder().encode("value")));
});

Deno.test("entryCrc32() gives the published check value of CRC-32", () => {
  strictEqual(entryCrc32("1234", new TextEncoder().encode("56789")), 0xcbf43926);
});

Deno.test("entryCrc32() differs for values that end with their own checksum", () => {
  const sealed = (content: number): Uint8Array => {
    const bytes = Uint8Array.of(content, 0, 0, 0, 0);
    new DataView(bytes.buffer).setUint32(1, crc32cOf("key", bytes, 1), true);
    return bytes;
  };
  notStrictEqual(entryCrc32("key", sealed(1)), entryCrc32("key", sealed(2)));
});

Deno.test("sealedSumsOf() gives what the two checksums give by themselves", () => {
  for (const length of [0, 1, 7, 8, 9, 250]) {
    for (const label of ["", "a,v", "depot/\xff\x80/longer,v", "x".repeat(5_000)]) {
      const key = `${label.length}\xfe`;
      const bytes = Uint8Array.from({ length: length + 4 }, (_, i) => i * 37 + length);
      const { seal, entry } = sealedSumsOf(labelSumsOf(label, key), bytes, length);
      strictEqual(seal, crc32cOf(label, bytes, length));
      new DataView(bytes.buffer).setUint32(length, seal, true);
      strictEqual(entry, entryCrc32(key, bytes));
    }
  }
});
