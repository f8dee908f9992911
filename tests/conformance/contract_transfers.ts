/**
 * The contract: what goes up comes down, and is described as it was sent.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { ObjectMetadata } from "../../src/storage/backend.ts";
import { expectContent, KEY, MIB, put, type Test } from "./contract_tools.ts";
import { hashOf, MemoryTarget, metadataOf, patternBytes } from "./test_bytes.ts";

export function testTransfers(test: Test, moreSizes: readonly number[]): void {
  for (const size of [0, 1, 4_095, MIB - 1, MIB, MIB + 1, ...moreSizes]) {
    test(`download() gives back the ${size} bytes that upload() took`, async (backend) => {
      const bytes = patternBytes(size, 1);
      const info = await put(backend, KEY, bytes);
      strictEqual(info.key, KEY);
      strictEqual(info.sizeBytes, size);
      await expectContent(backend, KEY, bytes);
    });
  }

  test("download() of a size that nobody knows gives all of it", async (backend) => {
    const bytes = patternBytes(100_000, 2);
    await put(backend, KEY, bytes);
    const target = new MemoryTarget();
    const result = await backend.download({ key: KEY, target, sizeBytes: null });
    target.expect(bytes);
    strictEqual(result.info.sizeBytes, bytes.length);
  });

  test("download() tells progress up to the whole", async (backend) => {
    const bytes = patternBytes(2 * MIB, 3);
    await put(backend, KEY, bytes);
    const told: [number, number][] = [];
    await backend.download({
      key: KEY,
      target: new MemoryTarget(),
      sizeBytes: bytes.length,
      onProgress: (done, total) => told.push([done, total]),
    });
    deepStrictEqual(told.at(-1), [bytes.length, bytes.length]);
  });

  test("sixteen transfers at a time do not mix", async (backend) => {
    const sizes = Array.from({ length: 16 }, (_, i) => 50_000 + i * 33_333);
    await Promise.all(sizes.map(async (size, i) => {
      const key = objectKeyOf(`many/${i},v`);
      const bytes = patternBytes(size, 100 + i);
      await put(backend, key, bytes);
      await expectContent(backend, key, bytes);
    }));
  });
}

export function testDescriptions(test: Test): void {
  const full: ObjectMetadata = {
    hash: hashOf(patternBytes(1_000, 4)),
    mtimeNs: 1_700_000_000_123_456_789n,
    mode: 0o444,
    uid: 1_000,
    gid: 4_294_967_294,
    path: "depot/main/%E3%83%87%00.c,v",
    generation: 999_999_999_999_999,
  };

  test("head() of an absent object is null", async (backend) => {
    strictEqual(await backend.head(KEY), null);
  });

  test("head() tells size, metadata and the ETag that upload() told", async (backend) => {
    const bytes = patternBytes(1_000, 4);
    const sent = await put(backend, KEY, bytes, { metadata: full });
    const info = await backend.head(KEY);
    ok(info !== null, "head() found the object");
    strictEqual(info.key, KEY);
    strictEqual(info.sizeBytes, bytes.length);
    ok(info.etag !== null && info.etag !== "", "there is an ETag");
    strictEqual(info.etag, sent.etag);
    if (backend.capabilities().metadata) deepStrictEqual(info.metadata, full);
  });

  test("download() tells what head() tells", async (backend) => {
    const bytes = patternBytes(1_000, 4);
    await put(backend, KEY, bytes, { metadata: full });
    const head = await backend.head(KEY);
    const { info } = await backend.download({
      key: KEY,
      target: new MemoryTarget(),
      sizeBytes: bytes.length,
    });
    // Azure tells the tier in answers to HEAD only.
    const storageClass = info.storageClass ?? head?.storageClass ?? null;
    deepStrictEqual(
      { ...info, storageClass, storeNowMs: null },
      { ...head, storeNowMs: null },
    );
  });

  test("metadata that is not known stays unknown", async (backend) => {
    const bytes = patternBytes(10, 5);
    await put(backend, KEY, bytes, { metadata: metadataOf(bytes) });
    deepStrictEqual((await backend.head(KEY))?.metadata, metadataOf(bytes));
  });

  test("a path too long for the store's metadata is left out, the hash never", async (backend) => {
    const bytes = patternBytes(10, 6);
    const metadata = { ...metadataOf(bytes), path: "%E3%83%87".repeat(1_200) };
    await put(backend, KEY, bytes, { metadata });
    const stored = (await backend.head(KEY))?.metadata;
    strictEqual(stored?.hash, metadata.hash);
    ok(stored.path === null || stored.path === metadata.path, "the path, or nothing");
  });
}
