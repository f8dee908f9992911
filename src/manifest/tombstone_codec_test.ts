import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { objectKeyOf, parseDepotPath } from "../core/names.ts";
import { FormatError } from "./format_error.ts";
import type { Tombstone } from "./manifest.ts";
import { PATH, tombstoneOf } from "./row_arbitrary.ts";
import { decodeTombstone, encodeTombstone } from "./tombstone_codec.ts";

const PATH_A = parseDepotPath("depot/a,v");

const TOMBSTONE: Tombstone = {
  id: 5,
  path: PATH_A,
  stored: {
    key: objectKeyOf("depot/a,v"),
    hash: "cd".repeat(32),
    sizeBytes: 100,
    mtimeNs: 5n,
    versionId: null,
  },
  reason: "replaced",
  atMs: 1_700_000_000_000,
  local: {
    sizeBytes: 200,
    mtimeNs: -1n,
    ctimeNs: 6n,
    mode: 0o644,
    uid: 1,
    gid: 2,
    ino: 3n,
    dev: 4n,
  },
  whiteout: true,
  removed: false,
  borrowed: false,
  secondaryOnly: false,
};

/** What version 1 has always looked like on disk. Never edit: add. */
const GOLDEN_V1 =
  "50345453010101010068e5cf8b0100000500000000000000c800000000000000ffffffffffffffff" +
  "060000000000000003000000000000000400000000000000a4010000010000000200000064000000" +
  "000000000500000000000000cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd" +
  "cdcdcdcd09006465706f742f612c76884d9384";

Deno.test("encodeTombstone() still writes the version 1 bytes", () => {
  strictEqual(encodeTombstone(TOMBSTONE).toHex(), GOLDEN_V1);
  deepStrictEqual(decodeTombstone(PATH_A, Uint8Array.fromHex(GOLDEN_V1)), TOMBSTONE);
});

Deno.test("decodeTombstone() returns what encodeTombstone() was given", () => {
  fc.assert(fc.property(PATH.chain(tombstoneOf), (tombstone) => {
    deepStrictEqual(
      decodeTombstone(tombstone.path, encodeTombstone(tombstone)),
      tombstone,
    );
  }));
});

Deno.test("decodeTombstone() refuses flips, truncations, another path, a newer version", () => {
  const bytes = Uint8Array.fromHex(GOLDEN_V1);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    throws(() => decodeTombstone(PATH_A, flipped), FormatError, `bit ${bit}`);
  }
  for (let length = 0; length < bytes.length; length++) {
    throws(() => decodeTombstone(PATH_A, bytes.subarray(0, length)), FormatError);
  }
  throws(() => decodeTombstone(parseDepotPath("x,v"), bytes), FormatError);
  const newer = bytes.slice();
  newer[4] = 2;
  throws(() => decodeTombstone(PATH_A, newer), { fault: "newer" });
});
