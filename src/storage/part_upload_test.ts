import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  NO_METADATA,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import { Places } from "./limiting_backend.ts";
import { type PartUpload, sendParts } from "./part_upload.ts";
import { openSourceReader } from "./source_reader.ts";

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
