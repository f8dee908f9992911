import { strictEqual, throws } from "node:assert/strict";
import { InvariantError } from "./assert.ts";
import {
  decodeMarkerAtimeNs,
  encodeMarkerAtimeNs,
  MARKER_SIZE_BYTES_MAX,
} from "./marker.ts";

/** Size, atime seconds, atime nanoseconds: those of tests/shim/units.c. Add, never edit. */
const GOLDEN: readonly (readonly [number, bigint, bigint])[] = [
  [0, 0n, 51n],
  [1, 0n, 6226n],
  [2, 0n, 8433n],
  [100, 0n, 411989n],
  [4096, 0n, 16778853n],
  [1048576, 8n, 1583n],
  [4294967295, 32767n, 536867382n],
  [4294967296, 32768n, 3512n],
  [1099511627776, 8388608n, 2847n],
  [281474976710655, 2147483647n, 536869817n],
];

const atimeNs = (seconds: bigint, nanoseconds: bigint): bigint =>
  seconds * 1_000_000_000n + nanoseconds;

Deno.test("encodeMarkerAtimeNs() still writes the golden times", () => {
  for (const [size, seconds, nanoseconds] of GOLDEN) {
    strictEqual(encodeMarkerAtimeNs(size), atimeNs(seconds, nanoseconds), `${size}`);
  }
});

Deno.test("decodeMarkerAtimeNs() reads the golden times", () => {
  for (const [size, seconds, nanoseconds] of GOLDEN) {
    strictEqual(decodeMarkerAtimeNs(atimeNs(seconds, nanoseconds)), size, `${size}`);
  }
});

Deno.test("decodeMarkerAtimeNs() returns what encodeMarkerAtimeNs() was given, around each power of two", () => {
  for (let bit = 0; bit < 48; bit++) {
    for (const size of [2 ** bit - 1, 2 ** bit, 2 ** bit + 1]) {
      strictEqual(decodeMarkerAtimeNs(encodeMarkerAtimeNs(size)), size);
    }
  }
  strictEqual(
    decodeMarkerAtimeNs(encodeMarkerAtimeNs(MARKER_SIZE_BYTES_MAX)),
    MARKER_SIZE_BYTES_MAX,
  );
});

Deno.test("decodeMarkerAtimeNs() refuses every flip of a bit of the check", () => {
  for (const [, seconds, nanoseconds] of GOLDEN) {
    for (let bit = 0n; bit < 12n; bit++) {
      const touched = atimeNs(seconds, nanoseconds ^ (1n << bit));
      strictEqual(decodeMarkerAtimeNs(touched), null, `bit ${bit} of ${touched}`);
    }
  }
});

Deno.test("decodeMarkerAtimeNs() refuses times that no marker has", () => {
  strictEqual(
    decodeMarkerAtimeNs(0n),
    null,
    "a new socket's on a machine without a clock",
  );
  strictEqual(decodeMarkerAtimeNs(-51n), null, "before the epoch");
  strictEqual(decodeMarkerAtimeNs(atimeNs(0n, 1n << 29n)), null, "30 bits");
  strictEqual(decodeMarkerAtimeNs(atimeNs(1n << 31n, 51n)), null, "32 bits of seconds");
});

Deno.test("decodeMarkerAtimeNs() takes few of the times of ordinary sockets for a marker's", () => {
  let taken = 0;
  const times = 40_000;
  for (let i = 0; i < times; i++) {
    // Microseconds apart, in 2026, as sockets are bound.
    if (decodeMarkerAtimeNs(1_790_000_000_000_000_000n + BigInt(i) * 1_237n) !== null) {
      taken += 1;
    }
  }
  // 1 in 4,096 of the half that has 29 bits of nanoseconds.
  strictEqual(taken < times / 1_000, true, `${taken} of ${times}`);
});

Deno.test("encodeMarkerAtimeNs() refuses a size that does not fit", () => {
  for (const size of [-1, 2 ** 48, 0.5, NaN]) {
    throws(() => encodeMarkerAtimeNs(size), InvariantError, `${size}`);
  }
});
