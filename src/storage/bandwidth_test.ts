import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import { type BandwidthLimits, planBandwidth, TokenBucket } from "./bandwidth.ts";

const both = (bytes: number | null): BandwidthLimits => ({
  uploadBytesPerSecond: bytes,
  downloadBytesPerSecond: bytes,
});

Deno.test("planBandwidth() takes the first window that the minute lies in", () => {
  const schedule = {
    windows: [
      { fromMinute: 540, toMinute: 1_080, ...both(1) },
      { fromMinute: 600, toMinute: 660, ...both(2) },
      { fromMinute: 1_320, toMinute: 360, ...both(3) },
    ],
    otherwise: both(null),
  };
  const at = (minute: number): number | null =>
    planBandwidth(schedule, minute).uploadBytesPerSecond;
  deepStrictEqual([539, 540, 620, 1_079, 1_080].map(at), [null, 1, 1, 1, null]);
  deepStrictEqual([1_319, 1_320, 1_439, 0, 359, 360].map(at), [null, 3, 3, 3, 3, null]);
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
