import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { decodeMetadata, encodeMetadata } from "./object_metadata.ts";

const METADATA = {
  hash: "0123456789abcdef".repeat(4),
  mtimeNs: 1_700_000_000_123_456_789n,
  mode: 0o444,
  uid: 1_000,
  gid: 0,
  path: "depot/%E3%83%87.c,v",
};

Deno.test("the pairs are these, in every release", () => {
  deepStrictEqual(encodeMetadata(METADATA, "-"), {
    "p4cache-hash": METADATA.hash,
    "p4cache-mtime-ns": "1700000000123456789",
    "p4cache-mode": "444",
    "p4cache-uid": "1000",
    "p4cache-gid": "0",
    "p4cache-path": METADATA.path,
  });
  deepStrictEqual(encodeMetadata({ ...METADATA, path: null }, "_"), {
    "p4cache_hash": METADATA.hash,
    "p4cache_mtime_ns": "1700000000123456789",
    "p4cache_mode": "444",
    "p4cache_uid": "1000",
    "p4cache_gid": "0",
  });
  strictEqual(
    encodeMetadata({ ...METADATA, generation: 42 }, "-")["p4cache-generation"],
    "42",
  );
});

Deno.test("decodeMetadata() undoes encodeMetadata(), also in capitals", () => {
  for (const separator of ["-", "_"] as const) {
    const pairs = encodeMetadata(METADATA, separator);
    deepStrictEqual(decodeMetadata(pairs, separator), METADATA);
    const capitals = Object.entries(pairs).map(([n, v]) => [n.toUpperCase(), v]);
    deepStrictEqual(decodeMetadata(Object.fromEntries(capitals), separator), METADATA);
    const numbered = { ...METADATA, generation: 42 };
    deepStrictEqual(
      decodeMetadata(encodeMetadata(numbered, separator), separator),
      numbered,
    );
  }
});

Deno.test("what is not ours, or damaged, is unknown", () => {
  const pairs = {
    "p4cache-hash": "xyz",
    "p4cache-mtime-ns": "soon",
    "p4cache-mode": "999",
    "p4cache-uid": "-1",
    "other": "1",
  };
  deepStrictEqual(Object.values(decodeMetadata(pairs, "-")), Array(6).fill(null));
});

Deno.test("a number that no row can hold is unknown", () => {
  const pairs = {
    "p4cache-mtime-ns": "9223372036854775808",
    "p4cache-uid": "4294967296",
    "p4cache-gid": "9999999999",
    "p4cache-generation": "1000000000000000",
  };
  deepStrictEqual(Object.values(decodeMetadata(pairs, "-")), Array(6).fill(null));
});

Deno.test("a watermark stays, and the path makes room for what must fit", () => {
  const watermark = { "p4cache-mark": "x".repeat(500) };
  const long = { ...METADATA, path: "p".repeat(1_500) };
  const pairs = encodeMetadata(long, "-", watermark);
  strictEqual(pairs["p4cache-mark"], watermark["p4cache-mark"]);
  strictEqual(pairs["p4cache-hash"], METADATA.hash);
  strictEqual(pairs["p4cache-path"], undefined);
  const bytes = Object.entries(pairs).reduce(
    (sum, [n, v]) => sum + n.length + v.length,
    0,
  );
  ok(bytes < 2_000);
});
