import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { objectKeyOf, parseDepotPath } from "../core/names.ts";
import { u64Key } from "./byte_keys.ts";
import { entryCrc32 } from "./crc32c.ts";
import {
  decodeRow,
  decodeRowAndSum,
  encodeRow,
  encodeRowAndSum,
  rowLabelOf,
  versionOf,
} from "./file_entry_codec.ts";
import { glanceAt } from "./row_glance.ts";
import { asUnproven } from "./unproven.ts";
import { FormatError } from "./format_error.ts";
import { NO_FLAGS, type Row } from "./row.ts";
import { HASH, PATH, rowOf } from "./row_arbitrary.ts";

const PATH_A = parseDepotPath("depot/a,v");

const UNKNOWN = { mtimeNs: 0n, ctimeNs: 0n, mode: 0, uid: 0, gid: 0, ino: 0n, dev: 0n };

/** A row as the systems before this one kept it. */
const OLD_ROW: Row = {
  state: "clean",
  resident: false,
  generation: 1,
  local: { ...UNKNOWN, sizeBytes: 0x1_0203 },
  lastAccessS: 1_700_000_000,
  createdAtS: 1_600_000_000,
  settledAtS: 0,
  stored: {
    key: objectKeyOf("depot/a,v"),
    hash: null,
    sizeBytes: 0x1_0203,
    mtimeNs: 0n,
    versionId: null,
  },
  flags: NO_FLAGS,
  id: 0,
  queue: null,
  tombstoned: false,
};

const HASHED_OLD_ROW: Row = {
  ...OLD_ROW,
  stored: { ...OLD_ROW.stored!, hash: "ab".repeat(32) },
};

const NEW_ROW: Row = {
  ...HASHED_OLD_ROW,
  resident: true,
  generation: 7,
  local: {
    sizeBytes: 0x1_0203,
    mtimeNs: 1_700_000_000_123_456_789n,
    ctimeNs: 1_700_000_001_000_000_000n,
    mode: 0o444,
    uid: 1000,
    gid: 1001,
    ino: 0x1122_3344n,
    dev: 0xfd00n,
  },
  settledAtS: 1_700_000_005,
  stored: {
    ...HASHED_OLD_ROW.stored!,
    key: objectKeyOf("depot/a,v.p4cv-0123456789abcdef"),
    mtimeNs: 1_700_000_000_123_456_789n,
    versionId: "v-1",
  },
  flags: { ...NO_FLAGS, pinned: true },
  id: 42,
};

const DIRTY_ROW: Row = {
  ...NEW_ROW,
  state: "dirty",
  stored: null,
  flags: NO_FLAGS,
  queue: { sequence: 9, dirtySinceMs: 1000, queuedAtMs: 2000, retryAtMs: 3000 },
};

// What each version has always looked like on disk. Never edit these: add to them.
const OLD_FIELDS = "0302010000000000" + "00f1536500000000" + "00105e5f00000000" + "00" +
  "09000000" + "6465706f742f612c76";
const GOLDEN_PRE_MAGIC = "50344645" + OLD_FIELDS;
const GOLDEN_V0 = "50344645" + "00" + OLD_FIELDS;
const GOLDEN_V1 = "50344645" + "01" + OLD_FIELDS + "ab".repeat(32);
const GOLDEN_V2_CLEAN =
  "5034464502004307030201000000000000f153650000000000105e5f0000000005f1536500000000" +
  "07000000000000002a0000000000000015cd853dfe9c971700cac471fe9c97174433221100000000" +
  "00fd00000000000024010000e8030000e9030000abababababababababababababababababababab" +
  "abababababababababababab090016002e703463762d303132333435363738396162636465660300" +
  "762d31255fe663";
const GOLDEN_V2_DIRTY =
  "5034464502010108030201000000000000f153650000000000105e5f0000000005f1536500000000" +
  "07000000000000002a0000000000000015cd853dfe9c971700cac471fe9c97174433221100000000" +
  "00fd00000000000024010000e8030000e90300000900000000000000e803000000000000d0070000" +
  "00000000b80b00000000000009e32c2d";

Deno.test("encodeRow() writes the lowest version that holds the row", () => {
  strictEqual(encodeRow(PATH_A, OLD_ROW).toHex(), GOLDEN_V0);
  strictEqual(encodeRow(PATH_A, HASHED_OLD_ROW).toHex(), GOLDEN_V1);
  strictEqual(encodeRow(PATH_A, NEW_ROW).toHex(), GOLDEN_V2_CLEAN);
  strictEqual(encodeRow(PATH_A, DIRTY_ROW).toHex(), GOLDEN_V2_DIRTY);
});

Deno.test("decodeRow() still reads the bytes of every version", () => {
  const read = (hex: string): Row => decodeRow(PATH_A, Uint8Array.fromHex(hex), "any");
  deepStrictEqual(read(GOLDEN_PRE_MAGIC), OLD_ROW);
  deepStrictEqual(read(GOLDEN_V0), OLD_ROW);
  deepStrictEqual(read(GOLDEN_V1), HASHED_OLD_ROW);
  deepStrictEqual(read(GOLDEN_V2_CLEAN), NEW_ROW);
  deepStrictEqual(read(GOLDEN_V2_DIRTY), DIRTY_ROW);
});

Deno.test("versionOf() tells a pre-magic row whose size looks like a version", () => {
  const bytes = Uint8Array.fromHex(GOLDEN_PRE_MAGIC);
  for (const low of [0, 1, 2, 3]) {
    bytes[4] = low;
    strictEqual(versionOf(bytes, "any"), "pre-magic", `size ends with ${low}`);
  }
});

Deno.test("decodeRow() takes no row without a checksum where only version 2 belongs", () => {
  for (const hex of [GOLDEN_PRE_MAGIC, GOLDEN_V0, GOLDEN_V1]) {
    throws(() => decodeRow(PATH_A, Uint8Array.fromHex(hex)), FormatError);
  }
});

Deno.test("decodeRow() refuses a version it does not know, and says so", () => {
  const bytes = Uint8Array.fromHex(GOLDEN_V2_CLEAN);
  bytes[4] = 3;
  throws(() => decodeRow(PATH_A, bytes), { name: "FormatError", fault: "newer" });
});

Deno.test("decodeRow() refuses a row that stands under another path", () => {
  const bytes = Uint8Array.fromHex(GOLDEN_V2_CLEAN);
  throws(() => decodeRow(parseDepotPath("depot/b,v"), bytes), { fault: "damaged" });
});

Deno.test("decodeRow() refuses every single-bit flip of a version 2 row", () => {
  const bytes = Uint8Array.fromHex(GOLDEN_V2_DIRTY);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    throws(() => decodeRow(PATH_A, flipped), FormatError, `bit ${bit}`);
    throws(() => decodeRow(PATH_A, flipped, "any"), FormatError, `bit ${bit}, any`);
  }
});

Deno.test("decodeRow() refuses every truncation of every version", () => {
  for (const hex of [GOLDEN_PRE_MAGIC, GOLDEN_V0, GOLDEN_V1, GOLDEN_V2_CLEAN]) {
    const bytes = Uint8Array.fromHex(hex);
    for (let length = 0; length < bytes.length; length++) {
      throws(() => decodeRow(PATH_A, bytes.subarray(0, length), "any"), FormatError);
    }
  }
});

const PATH_AND_ROW = PATH.chain((path) => fc.tuple(fc.constant(path), rowOf(path)));

Deno.test("decodeRow() returns what encodeRow() was given", () => {
  fc.assert(
    fc.property(PATH_AND_ROW, ([path, row]) => {
      deepStrictEqual(decodeRow(path, encodeRow(path, row)), row);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("decodeRow() returns an older row as encodeRow() was given it", () => {
  const older = fc.record({
    state: fc.constantFrom("clean" as const, "dirty" as const, "uploading" as const),
    size: fc.maxSafeNat(),
    lastAccessS: fc.maxSafeNat(),
    createdAtS: fc.maxSafeNat(),
    hash: fc.option(HASH),
  });
  fc.assert(fc.property(older, ({ state, size, lastAccessS, createdAtS, hash }) => {
    const row: Row = {
      ...OLD_ROW,
      state,
      resident: state !== "clean",
      local: { ...UNKNOWN, sizeBytes: size },
      lastAccessS,
      createdAtS,
      stored: { ...OLD_ROW.stored!, hash, sizeBytes: size },
      queue: state === "clean" ? null : {
        sequence: 0,
        dirtySinceMs: 0,
        queuedAtMs: 0,
        retryAtMs: null,
      },
    };
    const bytes = encodeRow(PATH_A, row);
    strictEqual(versionOf(bytes, "any"), hash === null ? "v0" : "v1");
    deepStrictEqual(decodeRow(PATH_A, bytes, "any"), row);
  }));
});

Deno.test("decodeRow() never takes a mutated version 2 row for another row", () => {
  const mutation = fc.record({
    at: fc.nat(),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    how: fc.constantFrom("overwrite", "insert", "remove"),
  });
  fc.assert(
    fc.property(PATH_AND_ROW, mutation, ([path, row], { at, bytes, how }) => {
      const whole = encodeRow(path, row);
      const start = at % whole.length;
      const head = whole.subarray(0, start);
      const tail = how === "insert"
        ? whole.subarray(start)
        : whole.subarray(Math.min(whole.length, start + bytes.length));
      const middle = how === "remove" ? new Uint8Array() : bytes;
      const mutated = Uint8Array.from([...head, ...middle, ...tail]);
      if (mutated.toHex() === whole.toHex()) return;
      for (const accepted of ["v2", "any"] as const) {
        throws(() => decodeRow(path, mutated, accepted), FormatError);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a clean row with the path for its key takes 144 bytes", () => {
  const row: Row = {
    ...NEW_ROW,
    stored: { ...NEW_ROW.stored!, key: objectKeyOf(PATH_A), versionId: null },
  };
  const bytes = encodeRow(PATH_A, row);
  ok(bytes.length <= 144, `${bytes.length} bytes`);
});

Deno.test("a glance knows the very file only, and tells one that a scan left unproven", () => {
  const { local } = NEW_ROW;
  const bytes = encodeRow(PATH_A, NEW_ROW);
  strictEqual(glanceAt(bytes, local), "known");
  strictEqual(glanceAt(encodeRow(PATH_A, DIRTY_ROW), local), "known");
  const unproven = encodeRow(PATH_A, { ...NEW_ROW, local: asUnproven(local) });
  strictEqual(glanceAt(unproven, local), "unproven");
  strictEqual(glanceAt(unproven, { ...local, ctimeNs: local.ctimeNs + 1n }), "other");
  strictEqual(glanceAt(bytes, local, true), "other");
  const others = [
    { sizeBytes: local.sizeBytes + 2 ** 32 },
    { sizeBytes: local.sizeBytes - 1 },
    { mtimeNs: local.mtimeNs + 1n },
    { ctimeNs: local.ctimeNs + 2n ** 33n },
    { ino: local.ino + 2n ** 32n },
    { ino: local.ino - 1n },
  ];
  for (const other of others) {
    strictEqual(glanceAt(bytes, { ...local, ...other }), "other");
  }
});

Deno.test("a glance says what the decoded row says, whatever it is", () => {
  fc.assert(fc.property(PATH_AND_ROW, ([path, row]) => {
    const bytes = encodeRow(path, row);
    const isV2 = versionOf(bytes, "any") === "v2";
    strictEqual(glanceAt(bytes, row.local), isV2 && row.resident ? "known" : "other");
    const isEvicted = isV2 && row.state === "clean" && !row.resident;
    const known = isEvicted ? "known" : "other";
    const { local } = row;
    const touched = { ...local, mtimeNs: local.mtimeNs + 1n };
    // After a directory was copied back, for one.
    const other = { ...local, ino: local.ino + 1n };
    for (const marker of [local, touched, other]) {
      strictEqual(glanceAt(bytes, marker, true), known);
    }
    for (const marker of [{ ...touched, ino: other.ino }, { ...local, sizeBytes: -1 }]) {
      strictEqual(glanceAt(bytes, marker, true), "other");
    }
  }));
});

Deno.test("the sums that come with a row are those of its entry", () => {
  fc.assert(fc.property(PATH_AND_ROW, ([path, row]) => {
    const label = rowLabelOf(path, row);
    const { bytes, sum } = encodeRowAndSum(path, row, label);
    const key = u64Key(row.id);
    strictEqual(sum, entryCrc32(key, bytes));
    const longer = Uint8Array.of(...bytes, 0xa5, 0xa5);
    const known = decodeRowAndSum({ path, key }, longer, bytes.length);
    deepStrictEqual(known, { row, sum, label });
  }));
});
