import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  hashOf,
  MemoryTarget,
  patternBytes,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import type { ObjectInfo } from "./backend.ts";
import type { Body } from "./http/body.ts";
import { Places } from "./limiting_backend.ts";
import type { ByteRange } from "./plan_ranges.ts";
import {
  downloadInRanges,
  downloadTools,
  type OpenRange,
  type RangeAnswer,
  type RangeRequest,
} from "./range_download.ts";
import { StorageError } from "./storage_error.ts";

const MIB = 1_048_576;
const KEY = objectKeyOf("a,v");
const TUNING = { chunkThresholdBytes: MIB, chunkThreads: 3, rangeBytes: MIB };

function infoOf(bytes: Uint8Array, etag = "e1"): ObjectInfo {
  return {
    key: KEY,
    sizeBytes: bytes.length,
    etag,
    storedAtMs: null,
    versionId: null,
    storageClass: null,
    metadata: null,
    storeNowMs: null,
  };
}

function unavailable(): StorageError {
  const detail = "cut";
  return new StorageError("unavailable", { operation: "download", key: KEY, detail });
}

/** A body that gives pieces of odd size, and then ends or fails. */
function bodyOf(bytes: Uint8Array, failure: unknown = null): Body {
  let offset = 0;
  return {
    read(): ReturnType<Body["read"]> {
      const isOver = offset === bytes.length;
      if (isOver) {
        return failure === null ? Promise.resolve(null) : Promise.reject(failure);
      }
      const piece = bytes.slice(offset, offset + 77_777);
      offset += piece.length;
      return Promise.resolve(piece);
    },
    cancel: () => {},
  };
}

/** A store of one object that keeps the ranges it was asked for. */
function storeOf(
  bytes: Uint8Array,
  answerOf: (range: ByteRange, call: number) => RangeAnswer | null = () => null,
): { openRange: OpenRange; asked: RangeRequest[] } {
  const asked: RangeRequest[] = [];
  const openRange = (request: RangeRequest): Promise<RangeAnswer> => {
    asked.push(request);
    const range = request.range ?? { start: 0, end: bytes.length };
    return Promise.resolve(
      answerOf(range, asked.length - 1) ??
        { info: infoOf(bytes), body: bodyOf(bytes.subarray(range.start, range.end)) },
    );
  };
  return { openRange, asked };
}

Deno.test("ranges are pinned to the object of the first answer", async () => {
  const bytes = patternBytes(5 * MIB + 3, 1);
  const { openRange, asked } = storeOf(bytes);
  const target = new MemoryTarget();
  const request = { key: KEY, target, sizeBytes: bytes.length };
  const { hash } = await downloadInRanges(
    request,
    TUNING,
    openRange,
    downloadTools(new FakeClock()),
  );
  target.expect(bytes);
  strictEqual(hash, hashOf(bytes));
  deepStrictEqual(asked.map((a) => a.ifMatch), [null, "e1", "e1", "e1", "e1", "e1"]);
});

Deno.test("a small object, or one of unknown size, is one request", async () => {
  for (const [size, told] of [[MIB - 1, MIB - 1], [3 * MIB, null]] as const) {
    const bytes = patternBytes(size, 2);
    const { openRange, asked } = storeOf(bytes);
    const request = { key: KEY, target: new MemoryTarget(), sizeBytes: told };
    await downloadInRanges(request, TUNING, openRange, downloadTools(new FakeClock()));
    deepStrictEqual(asked.map((a) => a.range), [null]);
  }
});

Deno.test("what broke is fetched again from where it broke, and only that", async () => {
  const bytes = patternBytes(3 * MIB, 3);
  const { openRange, asked } = storeOf(
    bytes,
    ({ start, end }, call) =>
      call >= 2 ? null : {
        info: infoOf(bytes),
        body: bodyOf(
          bytes.subarray(start, Math.min(end, start + 500_000)),
          unavailable(),
        ),
      },
  );
  const target = new MemoryTarget();
  const request = { key: KEY, target, sizeBytes: bytes.length };
  const whole = { ...TUNING, chunkThresholdBytes: 0 };
  const { hash } = await downloadInRanges(
    request,
    whole,
    openRange,
    downloadTools(new FakeClock()),
  );
  strictEqual(hash, hashOf(bytes));
  const starts = asked.map((a) => a.range?.start ?? 0);
  deepStrictEqual(starts, [0, 500_000, 1_000_000]);
});

Deno.test("an answer that ends early without an error is not taken for whole", async () => {
  const bytes = patternBytes(2 * MIB, 4);
  const { openRange } = storeOf(
    bytes,
    () => ({ info: infoOf(bytes), body: bodyOf(new Uint8Array()) }),
  );
  const request = { key: KEY, target: new MemoryTarget(), sizeBytes: bytes.length };
  const download = downloadInRanges(
    request,
    TUNING,
    openRange,
    downloadTools(new FakeClock()),
  );
  await rejects(() => download, { fault: "unavailable" });
});

Deno.test("more bytes than the object has are corrupt", async () => {
  const bytes = patternBytes(2 * MIB, 5);
  const { openRange } = storeOf(bytes, () => ({
    info: infoOf(bytes),
    body: bodyOf(patternBytes(3 * MIB, 6)),
  }));
  const request = { key: KEY, target: new MemoryTarget(), sizeBytes: bytes.length };
  const download = downloadInRanges(
    request,
    TUNING,
    openRange,
    downloadTools(new FakeClock()),
  );
  await rejects(() => download, { fault: "corrupt" });
});

Deno.test("a range of another object fails as precondition", async () => {
  const bytes = patternBytes(4 * MIB, 7);
  const { openRange } = storeOf(
    bytes,
    ({ start, end }, call) =>
      call < 2
        ? null
        : { info: infoOf(bytes, "e2"), body: bodyOf(bytes.subarray(start, end)) },
  );
  const request = { key: KEY, target: new MemoryTarget(), sizeBytes: bytes.length };
  const download = downloadInRanges(
    request,
    TUNING,
    openRange,
    downloadTools(new FakeClock()),
  );
  await rejects(() => download, { fault: "precondition" });
});

Deno.test("the first failure ends the other ranges", async () => {
  const bytes = patternBytes(4 * MIB, 8);
  const denied = new StorageError("denied", {
    operation: "download",
    key: KEY,
    detail: "x",
  });
  let endedCount = 0;
  const openRange = (request: RangeRequest): Promise<RangeAnswer> => {
    if (request.range?.start === MIB) return Promise.reject(denied);
    const { promise, reject } = Promise.withResolvers<null>();
    request.signal.addEventListener("abort", () => {
      endedCount += 1;
      reject(request.signal.reason);
    });
    const body: Body = { read: () => promise, cancel: () => {} };
    return Promise.resolve({ info: infoOf(bytes), body });
  };
  const request = { key: KEY, target: new MemoryTarget(), sizeBytes: bytes.length };
  const download = downloadInRanges(
    request,
    TUNING,
    openRange,
    downloadTools(new FakeClock()),
  );
  await rejects(() => download, (error) => error === denied);
  ok(endedCount >= 2, `${endedCount} ended`);
});

Deno.test("no more ranges are open than threads", async () => {
  const bytes = patternBytes(9 * MIB, 9);
  let openCount = 0;
  let most = 0;
  const openRange = (request: RangeRequest): Promise<RangeAnswer> => {
    openCount += 1;
    most = Math.max(most, openCount);
    const { start, end } = request.range!;
    const inner = bodyOf(bytes.subarray(start, end));
    const body: Body = {
      async read(): ReturnType<Body["read"]> {
        const piece = await inner.read();
        if (piece === null) openCount -= 1;
        return piece;
      },
      cancel: () => {},
    };
    return Promise.resolve({ info: infoOf(bytes), body });
  };
  const request = { key: KEY, target: new MemoryTarget(), sizeBytes: bytes.length };
  await downloadInRanges(request, TUNING, openRange, downloadTools(new FakeClock()));
  strictEqual(most, TUNING.chunkThreads);
});

Deno.test("downloads share the places of their further ranges", async () => {
  const bytes = patternBytes(6 * MIB, 10);
  let openCount = 0;
  let most = 0;
  const openRange = async (request: RangeRequest): Promise<RangeAnswer> => {
    openCount += 1;
    most = Math.max(most, openCount);
    for (let i = 0; i < 5; i++) await Promise.resolve();
    openCount -= 1;
    const { start, end } = request.range!;
    return { info: infoOf(bytes), body: bodyOf(bytes.subarray(start, end)) };
  };
  const tools = downloadTools(new FakeClock(), new Places(2));
  await Promise.all(Array.from({ length: 5 }, async () => {
    const target = new MemoryTarget();
    const request = { key: KEY, target, sizeBytes: bytes.length };
    await downloadInRanges(request, TUNING, openRange, tools);
    target.expect(bytes);
  }));
  ok(most <= 5 + 2, `${most} were open`);
});

Deno.test("a download that is whole does not wait for places of others", async () => {
  const bytes = patternBytes(3 * MIB, 11);
  const { openRange } = storeOf(bytes);
  const furtherRanges = new Places(1);
  const gate = Promise.withResolvers<void>();
  const other = furtherRanges.run(() => gate.promise);
  const target = new MemoryTarget();
  const request = { key: KEY, target, sizeBytes: bytes.length };
  const tools = downloadTools(new FakeClock(), furtherRanges);
  await downloadInRanges(request, TUNING, openRange, tools);
  target.expect(bytes);
  gate.resolve();
  await other;
});
