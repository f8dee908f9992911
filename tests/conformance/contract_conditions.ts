/**
 * The contract: absence, preconditions, and who wins.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { StorageError } from "../../src/storage/storage_error.ts";
import {
  expectContent,
  get,
  KEY,
  keysOf,
  put,
  rejectsAs,
  type Test,
} from "./contract_tools.ts";
import { hashOf, patternBytes } from "./test_bytes.ts";

export function testConditions(test: Test, largeBytes: number): void {
  test("download() of an absent object fails as not-found", async (backend) => {
    await rejectsAs("not-found", () => get(backend, KEY, 5));
  });

  test("delete() of an absent object succeeds", async (backend) => {
    await backend.delete({ key: KEY });
  });

  test("delete() removes the object", async (backend) => {
    await put(backend, KEY, patternBytes(10, 7));
    await backend.delete({ key: KEY });
    strictEqual(await backend.head(KEY), null);
    deepStrictEqual(await keysOf(backend, ""), []);
  });

  test("a deleted key can be used again", async (backend) => {
    await put(backend, KEY, patternBytes(10, 8));
    await backend.delete({ key: KEY });
    await put(backend, KEY, patternBytes(11, 9));
    await expectContent(backend, KEY, patternBytes(11, 9));
  });

  test("upload() leaves an object alone that exists", async (backend) => {
    const first = patternBytes(1_000, 10);
    await put(backend, KEY, first);
    await rejectsAs("precondition", () => put(backend, KEY, patternBytes(1_000, 11)));
    await expectContent(backend, KEY, first);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(first));
  });

  test("upload() of an empty file leaves an object alone that exists", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 10));
    await rejectsAs("precondition", () => put(backend, KEY, new Uint8Array(0)));
    await expectContent(backend, KEY, patternBytes(1_000, 10));
  });

  test(`upload() of ${largeBytes} bytes leaves an object alone that exists`, async (backend) => {
    const first = patternBytes(1_000, 10);
    await put(backend, KEY, first);
    const second = patternBytes(largeBytes, 11);
    await rejectsAs("precondition", () => put(backend, KEY, second));
    await expectContent(backend, KEY, first);
  });

  test(`of three uploads of ${largeBytes} bytes at a time exactly one wins, whole`, async (backend) => {
    const contents = [50, 51, 52].map((seed) => patternBytes(largeBytes, seed));
    const results = await Promise.allSettled(contents.map((c) => put(backend, KEY, c)));
    const winners = contents.filter((_, i) => results[i]!.status === "fulfilled");
    strictEqual(winners.length, 1, "winners");
    await expectContent(backend, KEY, winners[0]!);
  });

  test("upload() without ifAbsent replaces content and metadata", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 12));
    const second = patternBytes(999, 13);
    await put(backend, KEY, second, { ifAbsent: false });
    await expectContent(backend, KEY, second);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(second));
  });

  test("of eight uploads to one key at a time exactly one wins, whole", async (backend) => {
    const contents = Array.from(
      { length: 8 },
      (_, i) => patternBytes(200_000 + i, 20 + i),
    );
    const results = await Promise.allSettled(contents.map((c) => put(backend, KEY, c)));
    const winners = contents.filter((_, i) => results[i]!.status === "fulfilled");
    strictEqual(winners.length, 1, "winners");
    for (const result of results) {
      if (result.status === "fulfilled") continue;
      ok(result.reason instanceof StorageError, String(result.reason));
      strictEqual(result.reason.fault, "precondition");
    }
    await expectContent(backend, KEY, winners[0]!);
    strictEqual((await backend.head(KEY))?.metadata?.hash, hashOf(winners[0]!));
  });

  test("download() with ifMatch takes only that object", async (backend) => {
    const bytes = patternBytes(500, 14);
    const { etag } = await put(backend, KEY, bytes);
    await expectContent(backend, KEY, bytes, etag);
    await put(backend, KEY, patternBytes(500, 15), { ifAbsent: false });
    await rejectsAs("precondition", () => get(backend, KEY, 500, etag));
  });

  test("delete() with ifMatch removes only that object", async (backend) => {
    if (!backend.capabilities().conditionalWrites) return;
    const { etag: old } = await put(backend, KEY, patternBytes(500, 16));
    const bytes = patternBytes(500, 17);
    const { etag } = await put(backend, KEY, bytes, { ifAbsent: false });
    await rejectsAs("precondition", () => backend.delete({ key: KEY, ifMatch: old }));
    await expectContent(backend, KEY, bytes);
    await backend.delete({ key: KEY, ifMatch: etag });
    strictEqual(await backend.head(KEY), null);
  });
}
