import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  NO_METADATA,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import { Places } from "./limiting_backend.ts";
import { type PartUpload, sendParts } from "./part_upload.ts";
import { DEFAULT_RETRY_POLICY, retryTransient } from "./retrying_backend.ts";
import { openSourceReader } from "./source_reader.ts";
import { StorageError, type StorageFault } from "./storage_error.ts";

const KEY = objectKeyOf("a,v");

function uploadOf(bytes: Uint8Array, more: Partial<PartUpload> = {}): PartUpload {
  return {
    totalBytes: bytes.length,
    partBytes: 1_000,
    reader: openSourceReader({
      key: KEY,
      source: sourceOf(bytes),
      metadata: NO_METADATA,
    }),
    threads: 3,
    memory: new Places(100),
    retry: { policy: DEFAULT_RETRY_POLICY, clock: new FakeClock(), random: () => 1 },
    onResend: undefined,
    signal: undefined,
    ...more,
  };
}

Deno.test("sendParts() sends every byte once, and keeps the order of the answers", async () => {
  const bytes = patternBytes(10_500, 1);
  const sent = new Uint8Array(bytes.length);
  const answers = await sendParts(uploadOf(bytes), async (part, index) => {
    // Later parts answer first.
    for (let i = index; i < 11; i++) await Promise.resolve();
    sent.set(part, index * 1_000);
    return index;
  });
  deepStrictEqual(answers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  deepStrictEqual(sent, bytes);
});

Deno.test("sendParts() tells of each part that it is about to send again, and waits", async () => {
  const told: number[] = [];
  const events: string[] = [];
  const attempts = new Map<number, number>();
  const onResend = async (sizeBytes: number): Promise<void> => {
    await Promise.resolve();
    told.push(sizeBytes);
    events.push("told");
  };
  await sendParts(
    uploadOf(patternBytes(2_500, 3), { onResend, threads: 1 }),
    (_, index) => {
      const attempt = (attempts.get(index) ?? 0) + 1;
      attempts.set(index, attempt);
      events.push(`${index}`);
      // The second is refused twice, the last once.
      if (attempt > [0, 2, 1][index]!) return Promise.resolve(index);
      const detail = "later";
      const options = { operation: "upload", key: KEY, detail } as const;
      return Promise.reject(new StorageError("throttled", options));
    },
  );
  deepStrictEqual(told, [1_000, 1_000, 500]);
  deepStrictEqual(events, ["0", "1", "told", "1", "told", "1", "2", "told", "2"]);
});

Deno.test("sendParts() keeps to its threads and to the memory of all uploads", async () => {
  for (const [threads, places] of [[3, 100], [8, 2]] as const) {
    let inFlight = 0;
    let most = 0;
    const more = { threads, memory: new Places(places) };
    await sendParts(uploadOf(patternBytes(20_000, 2), more), async () => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      for (let i = 0; i < 20; i++) await Promise.resolve();
      inFlight -= 1;
    });
    strictEqual(most, Math.min(threads, places));
  }
});

Deno.test("sendParts() begins nothing after a failure, and waits for what it began", async () => {
  const trouble = new Error("no");
  const begun: number[] = [];
  let endedCount = 0;
  const sending = sendParts(uploadOf(patternBytes(50_000, 3)), async (_, index) => {
    begun.push(index);
    if (index === 1) throw trouble;
    for (let i = 0; i < 50; i++) await Promise.resolve();
    endedCount += 1;
  });
  await rejects(() => sending, (error) => error === trouble);
  ok(begun.length < 10, `${begun.length} begun`);
  strictEqual(endedCount, begun.length - 1);
});

Deno.test("sendParts() throws what the source throws", async () => {
  const bytes = patternBytes(5_000, 4);
  const short = { ...sourceOf(bytes), sizeBytes: 6_000 };
  const reader = openSourceReader({ key: KEY, source: short, metadata: NO_METADATA });
  const upload = { ...uploadOf(bytes), totalBytes: 6_000, reader };
  await rejects(() => sendParts(upload, () => Promise.resolve()), { fault: "corrupt" });
});

function failed(fault: StorageFault): StorageError {
  return new StorageError(fault, { operation: "upload", key: KEY, detail: "no" });
}

Deno.test("sendParts() sends a part again that failed, and no other one", async () => {
  const bytes = patternBytes(40_000, 5);
  const sent = new Uint8Array(bytes.length);
  const clock = new FakeClock();
  const retry = { policy: DEFAULT_RETRY_POLICY, clock, random: (): number => 1 };
  let sendCount = 0;
  await sendParts(uploadOf(bytes, { retry }), (part, index) => {
    sendCount += 1;
    if (sendCount % 7 === 0) return Promise.reject(failed("throttled"));
    sent.set(part, index * 1_000);
    return Promise.resolve();
  });
  deepStrictEqual(sent, bytes);
  strictEqual(sendCount, 46);
  deepStrictEqual(clock.slept, Array(6).fill(500));
});

Deno.test("sendParts() gives a part up after four attempts, and so does who retries the whole", async () => {
  const retry = {
    policy: DEFAULT_RETRY_POLICY,
    clock: new FakeClock(),
    random: (): number => 0,
  };
  let beginCount = 0;
  let sendCount = 0;
  const whole = retryTransient(retry, () => {
    beginCount += 1;
    return sendParts(uploadOf(patternBytes(3_000, 6), { retry }), (_, index) => {
      if (index !== 1) return Promise.resolve();
      sendCount += 1;
      return Promise.reject(failed("unavailable"));
    });
  });
  await rejects(() => whole, {
    fault: "unavailable",
    message: 'Cannot upload "a,v": no',
  });
  deepStrictEqual([beginCount, sendCount], [1, 4]);
});

Deno.test("sendParts() does not wait for pauses once another part failed for good", async () => {
  const clock = new FakeClock();
  const { promise: pausing, resolve: onPause } = Promise.withResolvers<void>();
  // A pause that nothing ends but its signal.
  const sleep = (_: number, signal?: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => {
      signal!.addEventListener("abort", () => reject(signal!.reason), { once: true });
      onPause();
    });
  const retry = {
    policy: DEFAULT_RETRY_POLICY,
    clock: Object.assign(clock, { sleep }),
    random: (): number => 1,
  };
  const bytes = patternBytes(2_000, 7);
  const sending = sendParts(uploadOf(bytes, { retry }), async (_, index) => {
    if (index === 0) throw failed("throttled");
    await pausing;
    throw failed("denied");
  });
  await rejects(() => sending, { fault: "denied" });
});

Deno.test("an abort ends the pause before a part is sent again", async () => {
  const abort = new AbortController();
  const reason = new Error("stop");
  const policy = {
    ...DEFAULT_RETRY_POLICY,
    onRetry: (): void => void queueMicrotask(() => abort.abort(reason)),
  };
  const clock = new FakeClock();
  const sleep = (_: number, signal?: AbortSignal): Promise<void> =>
    new Promise((_resolve, reject) => {
      signal!.addEventListener("abort", () => reject(signal!.reason), { once: true });
    });
  const retry = {
    policy,
    clock: Object.assign(clock, { sleep }),
    random: (): number => 1,
  };
  const upload = uploadOf(patternBytes(2_000, 8), { retry, signal: abort.signal });
  await rejects(
    () => sendParts(upload, () => Promise.reject(failed("throttled"))),
    (error) => error === reason,
  );
});
