import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import {
  type BandwidthLimits,
  planBandwidth,
  TokenBucket,
  weekMinuteOf,
} from "./bandwidth.ts";
import type { StorageBackend } from "./backend.ts";
import { openMemBackend } from "./mem/mem_backend.ts";
import { withBandwidth } from "./throttling_backend.ts";

const both = (bytes: number | null): BandwidthLimits => ({
  uploadBytesPerSecond: bytes,
  downloadBytesPerSecond: bytes,
});

const MONDAY = 1;
const SATURDAY = 6;

Deno.test("planBandwidth() takes the first window that the minute lies in", () => {
  const schedule = {
    windows: [
      { days: null, fromMinute: 540, toMinute: 1_080, ...both(1) },
      { days: null, fromMinute: 600, toMinute: 660, ...both(2) },
      { days: null, fromMinute: 1_320, toMinute: 360, ...both(3) },
    ],
    otherwise: both(null),
  };
  const at = (minute: number): number | null =>
    planBandwidth(schedule, { day: MONDAY, minute }).uploadBytesPerSecond;
  deepStrictEqual([539, 540, 620, 1_079, 1_080].map(at), [null, 1, 1, 1, null]);
  deepStrictEqual([1_319, 1_320, 1_439, 0, 359, 360].map(at), [null, 3, 3, 3, 3, null]);
});

Deno.test("a window past midnight belongs to the day on which it begins", () => {
  const night = { days: [SATURDAY], fromMinute: 1_320, toMinute: 360, ...both(1) };
  const day = { days: [MONDAY], fromMinute: 0, toMinute: 1_440, ...both(2) };
  const schedule = { windows: [night, day], otherwise: both(null) };
  const at = (weekDay: number, minute: number): number | null =>
    planBandwidth(schedule, { day: weekDay, minute }).downloadBytesPerSecond;
  deepStrictEqual([at(SATURDAY, 1_319), at(SATURDAY, 1_320)], [null, 1]);
  deepStrictEqual([at(0, 359), at(0, 360), at(SATURDAY, 100)], [1, null, null]);
  deepStrictEqual([at(MONDAY, 0), at(MONDAY, 1_439), at(2, 0)], [2, 2, null]);
});

Deno.test("weekMinuteOf() is what the clock on the wall shows", () => {
  const nowMs = new Date(2_024, 0, 6, 23, 59, 30).getTime();
  deepStrictEqual(weekMinuteOf(nowMs), { day: SATURDAY, minute: 1_439 });
});

Deno.test("a transfer is as slow as its window says, and fast again when it is over", async () => {
  const clock = new FakeClock();
  const begin = weekMinuteOf(clock.nowMs()).minute;
  // It ends two to three minutes from now, and holds less than what is sent.
  const toMinute = (begin + 3) % 1_440;
  const window = { days: null, fromMinute: begin, toMinute, ...both(10_000) };
  const schedule = { windows: [window], otherwise: both(null) };
  const limits = (): BandwidthLimits =>
    planBandwidth(schedule, weekMinuteOf(clock.nowMs()));
  const inner = openMemBackend();
  const backend = withBandwidth(inner, limits, clock);
  const bytes = patternBytes(8 * 1_048_576, 1);
  const startMs = clock.monotonicMs();
  await backend.upload({
    key: objectKeyOf("a,v"),
    source: sourceOf(bytes),
    metadata: metadataOf(bytes),
  });
  const seconds = (clock.monotonicMs() - startMs) / 1_000;
  ok(seconds > 100 && seconds < 190, `${seconds} s for 8 MiB`);
  strictEqual((await inner.head(objectKeyOf("a,v")))?.sizeBytes, bytes.length);
});

Deno.test("what is sent again is held to the same rate", async () => {
  const clock = new FakeClock();
  const inner = openMemBackend();
  const resent = 4 * 1_048_576;
  const told: number[] = [];
  const upload = inner.upload.bind(inner);
  inner.upload = async (request): ReturnType<StorageBackend["upload"]> => {
    await request.onResend!(resent);
    return await upload(request);
  };
  const backend = withBandwidth(inner, () => both(100_000), clock);
  const bytes = patternBytes(1_048_576, 1);
  const startMs = clock.monotonicMs();
  await backend.upload({
    key: objectKeyOf("a,v"),
    source: sourceOf(bytes),
    metadata: metadataOf(bytes),
    onResend: (sizeBytes) => Promise.resolve(void told.push(sizeBytes)),
  });
  // The last piece may be taken on credit.
  const seconds = (clock.monotonicMs() - startMs) / 1_000;
  ok(seconds > resent / 100_000 - 1, `${seconds} s`);
  deepStrictEqual(told, [resent]);
});

Deno.test("a bucket lets through what its rate allows, over any time", async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, () => 1_000_000);
  const startMs = clock.monotonicMs();
  for (let i = 0; i < 100; i++) await bucket.take(100_000);
  const seconds = (clock.monotonicMs() - startMs) / 1_000;
  ok(seconds > 9 && seconds <= 10.2, `10 MB at 1 MB/s took ${seconds} s`);
});

Deno.test("a bucket without a rate never waits", async () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, () => null);
  for (let i = 0; i < 10; i++) await bucket.take(1e9);
  deepStrictEqual(clock.slept, []);
});

Deno.test("a bucket sees a new rate within a second", async () => {
  const clock = new FakeClock();
  let rate: number | null = 1;
  const bucket = new TokenBucket(clock, () => rate);
  await bucket.take(1_000_000);
  const waiting = bucket.take(1);
  rate = null;
  await waiting;
  ok(clock.slept.every((ms) => ms <= 1_000));
});

Deno.test("an abort ends the wait of one, and not of the next", async () => {
  const bucket = new TokenBucket(new FakeClock(), () => 1_000);
  await bucket.take(10_000);
  const reason = new Error("stop");
  const aborted = bucket.take(1, AbortSignal.abort(reason));
  const next = bucket.take(1);
  await rejects(() => aborted, (error) => error === reason);
  strictEqual(await next, undefined);
});
