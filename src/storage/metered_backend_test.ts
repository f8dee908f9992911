import { deepStrictEqual, rejects } from "node:assert/strict";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import { withFaults } from "../../tests/conformance/faulty_backend.ts";
import {
  MemoryTarget,
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import { openMemBackend } from "./mem/mem_backend.ts";
import { type StorageRequestEvent, withMetering } from "./metered_backend.ts";

const KEY = objectKeyOf("a,v");

Deno.test("each request is one event, with how it ended and what passed", async () => {
  const seen: string[] = [];
  const onRequest = (e: StorageRequestEvent): void =>
    void seen.push(`${e.backend} ${e.operation} ${e.outcome} ${e.bytes}`);
  const inner = withFaults(
    openMemBackend(),
    (op, i) => op === "delete" && i === 0 ? { when: "before", fault: "denied" } : null,
  );
  const backend = withMetering(inner, { onRequest }, new FakeClock());
  const bytes = patternBytes(1_234, 1);
  const request = { key: KEY, source: sourceOf(bytes), metadata: metadataOf(bytes) };
  await backend.upload(request);
  await rejects(() => backend.upload(request));
  await backend.download({ key: KEY, target: new MemoryTarget(), sizeBytes: 1_234 });
  await backend.head(KEY);
  await rejects(() => backend.delete({ key: KEY }));
  await Array.fromAsync(backend.list(""));
  const signal = AbortSignal.abort(new Error("stop"));
  await rejects(() => backend.head(KEY, signal));
  const broken = {
    sizeBytes: 1,
    read: (): Promise<number> => Promise.reject(new Error("x")),
  };
  await rejects(() => backend.upload({ ...request, source: broken }));
  deepStrictEqual(seen, [
    "mem upload ok 1234",
    "mem upload precondition 1234",
    "mem download ok 1234",
    "mem head ok 0",
    "mem delete denied 0",
    "mem list ok 0",
    "mem head aborted 0",
    "mem upload error 0",
  ]);
});
