import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  type PlannedFailure,
  withFaults,
} from "../../tests/conformance/faulty_backend.ts";
import {
  metadataOf,
  NO_METADATA,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import { openMemBackend } from "./mem/mem_backend.ts";
import { DEFAULT_RETRY_POLICY, planRetryDelayMs, withRetry } from "./retrying_backend.ts";
import { StorageError } from "./storage_error.ts";

const KEY = objectKeyOf("a,v");
const BUSY: PlannedFailure = { when: "before", fault: "throttled" };

Deno.test("planRetryDelayMs() doubles up to its limit, and jitters all of it", () => {
  const policy = { ...DEFAULT_RETRY_POLICY, delayMsMin: 100, delayMsMax: 1_000 };
  const delays = (random: number): number[] =>
    [1, 2, 3, 4, 5, 6].map((n) => planRetryDelayMs(policy, n, null, random));
  deepStrictEqual(delays(0), [0, 0, 0, 0, 0, 0]);
  deepStrictEqual(delays(0.5), [50, 100, 200, 400, 500, 500]);
});

Deno.test("planRetryDelayMs() waits at least as long as the store asked, up to a limit", () => {
  const policy = { ...DEFAULT_RETRY_POLICY, retryAfterMsMax: 60_000 };
  strictEqual(planRetryDelayMs(policy, 1, 7_000, 0), 7_000);
  strictEqual(planRetryDelayMs(policy, 1, 86_400_000, 0), 60_000);
});

Deno.test("a transient fault is tried four times in all, and then thrown", async () => {
  let callCount = 0;
  const inner = withFaults(openMemBackend(), () => {
    callCount += 1;
    return BUSY;
  });
  const told: number[] = [];
  const policy = {
    ...DEFAULT_RETRY_POLICY,
    onRetry: (_: StorageError, count: number): void => void told.push(count),
  };
  const clock = new FakeClock();
  const backend = withRetry(inner, policy, clock, () => 0.5);
  await rejects(() => backend.head(KEY), { fault: "throttled" });
  strictEqual(callCount, 4);
  deepStrictEqual(told, [1, 2, 3]);
  deepStrictEqual(clock.slept, [250, 500, 1_000]);
});

Deno.test("a fault that waiting cannot help is thrown at once", async () => {
  for (
    const fault of ["denied", "invalid", "full", "archived", "precondition"] as const
  ) {
    let callCount = 0;
    const inner = withFaults(openMemBackend(), () => {
      callCount += 1;
      return { when: "before", fault };
    });
    const backend = withRetry(inner, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
    await rejects(() => backend.head(KEY), { fault });
    strictEqual(callCount, 1, fault);
  }
});

Deno.test("an error that is none of the store's is thrown at once", async () => {
  let readCount = 0;
  const trouble = new Error("EIO");
  const source = {
    sizeBytes: 1,
    read(): Promise<number> {
      readCount += 1;
      return Promise.reject(trouble);
    },
  };
  const clock = new FakeClock();
  const backend = withRetry(openMemBackend(), DEFAULT_RETRY_POLICY, clock, () => 0);
  const upload = backend.upload({ key: KEY, source, metadata: NO_METADATA });
  await rejects(() => upload, (error) => error === trouble);
  strictEqual(readCount, 1);
});

Deno.test("an upload whose answer was lost is recognised by its hash", async () => {
  const lost: PlannedFailure = { when: "after", fault: "unavailable" };
  const store = openMemBackend();
  const inner = withFaults(store, (op, i) => op === "upload" && i === 0 ? lost : null);
  const backend = withRetry(inner, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
  const bytes = patternBytes(100, 1);
  const source = sourceOf(bytes);
  const info = await backend.upload({ key: KEY, source, metadata: metadataOf(bytes) });
  strictEqual(info.etag, (await store.head(KEY))?.etag);
});

Deno.test("an object of somebody else is never taken for the lost upload", async () => {
  const bytes = patternBytes(100, 1);
  const others = patternBytes(100, 2);
  for (const metadata of [metadataOf(bytes), NO_METADATA]) {
    const store = openMemBackend();
    await store.upload({
      key: KEY,
      source: sourceOf(others),
      metadata: metadata === NO_METADATA ? NO_METADATA : metadataOf(others),
    });
    const inner = withFaults(store, (op, i) => op === "upload" && i === 0 ? BUSY : null);
    const backend = withRetry(inner, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
    const upload = backend.upload({ key: KEY, source: sourceOf(bytes), metadata });
    await rejects(() => upload, { fault: "precondition" });
  }
});

Deno.test("a precondition of the first attempt is not looked into", async () => {
  const store = openMemBackend();
  const bytes = patternBytes(100, 1);
  const request = { key: KEY, source: sourceOf(bytes), metadata: metadataOf(bytes) };
  await store.upload(request);
  const backend = withRetry(store, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
  await rejects(() => backend.upload(request), { fault: "precondition" });
});

Deno.test("an abort ends the wait between two attempts", async () => {
  const inner = withFaults(openMemBackend(), () => BUSY);
  const abort = new AbortController();
  const reason = new Error("stop");
  const policy = { ...DEFAULT_RETRY_POLICY, onRetry: (): void => abort.abort(reason) };
  const backend = withRetry(inner, policy, new FakeClock(), () => 0);
  await rejects(() => backend.head(KEY, abort.signal), (error) => error === reason);
  ok(abort.signal.aborted);
});

Deno.test("a source that is not what was declared is not sent again", async () => {
  let readCount = 0;
  const bytes = patternBytes(100, 1);
  const inner = sourceOf(bytes);
  const read = (buffer: Uint8Array, offset: number): Promise<number> => {
    readCount += 1;
    return inner.read(buffer, offset);
  };
  const source = { sizeBytes: bytes.length, read };
  const metadata = metadataOf(patternBytes(100, 2));
  const clock = new FakeClock();
  const backend = withRetry(openMemBackend(), DEFAULT_RETRY_POLICY, clock, () => 0);
  await rejects(() => backend.upload({ key: KEY, source, metadata }), {
    fault: "corrupt",
  });
  strictEqual(readCount, 1);
});

Deno.test("a DELETE tells of each try that it gave up, also of those before one that was answered", async () => {
  const lost: PlannedFailure = { when: "after", fault: "unavailable" };
  for (
    const [failures, told] of [
      [[], 0],
      [[lost], 1],
      // In between something else may say 503 of a request that it has passed on.
      [[lost, BUSY, lost, lost], 4],
      [[lost, { when: "before", fault: "denied" }], 1],
      [[{ when: "before", fault: "denied" }], 0],
    ] as const
  ) {
    const inner = withFaults(openMemBackend(), (_, i) => failures[i] ?? null);
    const backend = withRetry(inner, DEFAULT_RETRY_POLICY, new FakeClock(), () => 0);
    let count = 0;
    await backend.delete({ key: KEY, onUnanswered: () => count += 1 }).catch(() => {});
    strictEqual(count, told);
  }
});
