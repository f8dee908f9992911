/**
 * The contract: sources and targets that fail, sizes that are wrong, aborts.
 *
 * @module
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import type { UploadSource } from "../../src/storage/backend.ts";
import { get, KEY, keysOf, MIB, put, rejectsAs, type Test } from "./contract_tools.ts";
import {
  MemoryTarget,
  metadataOf,
  NO_METADATA,
  patternBytes,
  sourceOf,
} from "./test_bytes.ts";

export function testDamage(test: Test): void {
  test("download() of another size than expected fails as corrupt", async (backend) => {
    await put(backend, KEY, patternBytes(1_000, 18));
    await rejectsAs("corrupt", () => get(backend, KEY, 999));
    await rejectsAs("corrupt", () => get(backend, KEY, 1_001));
    await rejectsAs("corrupt", () => get(backend, KEY, 0));
  });

  test("upload() of a source that ends early shows no object", async (backend) => {
    const short: UploadSource = {
      ...sourceOf(patternBytes(1_000, 19)),
      sizeBytes: 2_000,
    };
    await rejectsAs(
      "corrupt",
      () => backend.upload({ key: KEY, source: short, metadata: NO_METADATA }),
    );
    strictEqual(await backend.head(KEY), null);
    deepStrictEqual(await keysOf(backend, ""), []);
  });

  test("upload() of bytes that are not what was declared shows no object", async (backend) => {
    const bytes = patternBytes(1_000, 30);
    const metadata = metadataOf(patternBytes(1_000, 31));
    await rejectsAs("corrupt", () => put(backend, KEY, bytes, { metadata }));
    strictEqual(await backend.head(KEY), null);
  });

  test("what a source throws comes back as it is, and no object shows", async (backend) => {
    const trouble = new Error("the disk is on fire");
    const source: UploadSource = {
      sizeBytes: 2 * MIB,
      read: (buffer, offset) =>
        offset < MIB ? Promise.resolve(buffer.length) : Promise.reject(trouble),
    };
    const upload = backend.upload({ key: KEY, source, metadata: NO_METADATA });
    await rejects(() => upload, (error) => error === trouble);
    strictEqual(await backend.head(KEY), null);
  });

  test("what a target throws comes back as it is", async (backend) => {
    await put(backend, KEY, patternBytes(2 * MIB, 32));
    const trouble = new Error("no space left");
    const target = {
      write: (): Promise<void> => Promise.reject(trouble),
      read: (): Promise<number> => Promise.resolve(0),
    };
    const download = backend.download({ key: KEY, target, sizeBytes: 2 * MIB });
    await rejects(() => download, (error) => error === trouble);
  });
}

export function testAborts(test: Test, largeBytes: number): void {
  for (const size of [2 * MIB, largeBytes]) {
    test(`an aborted upload of ${size} bytes throws the reason and shows no object`, async (backend) => {
      const abort = new AbortController();
      const reason = new Error("stop here");
      const whole = sourceOf(patternBytes(size, 33));
      const source: UploadSource = {
        sizeBytes: size,
        read(buffer, offset): Promise<number> {
          if (offset > size / 2) abort.abort(reason);
          return whole.read(buffer, offset);
        },
      };
      const { signal } = abort;
      const upload = backend.upload({ key: KEY, source, metadata: NO_METADATA, signal });
      await rejects(() => upload, (error) => error === reason);
      strictEqual(await backend.head(KEY), null);
      deepStrictEqual(await keysOf(backend, ""), []);
      await put(backend, KEY, patternBytes(10, 34));
    });
  }

  test("an aborted download throws the reason", async (backend) => {
    await put(backend, KEY, patternBytes(3 * MIB, 35));
    const abort = new AbortController();
    const reason = new Error("stop here");
    const inner = new MemoryTarget();
    const target = {
      write(bytes: Uint8Array, offset: number): Promise<void> {
        abort.abort(reason);
        return inner.write(bytes, offset);
      },
      read: inner.read.bind(inner),
    };
    const { signal } = abort;
    const download = backend.download({ key: KEY, target, sizeBytes: 3 * MIB, signal });
    await rejects(() => download, (error) => error === reason);
  });

  test("a signal that is aborted already ends every request", async (backend) => {
    await put(backend, KEY, patternBytes(10, 36));
    const reason = new Error("before it began");
    const signal = AbortSignal.abort(reason);
    const bytes = patternBytes(10, 37);
    const key = objectKeyOf("another");
    const target = new MemoryTarget();
    const requests = [
      (): Promise<unknown> =>
        backend.upload({ key, source: sourceOf(bytes), metadata: NO_METADATA, signal }),
      (): Promise<unknown> =>
        backend.download({ key: KEY, target, sizeBytes: 10, signal }),
      (): Promise<unknown> => backend.head(KEY, signal),
      (): Promise<unknown> => backend.delete({ key: KEY, signal }),
      (): Promise<unknown> => Array.fromAsync(backend.list("", signal)),
    ];
    for (const request of requests) {
      await rejects(request, (error) => error === reason);
    }
    deepStrictEqual(await keysOf(backend, ""), [KEY]);
  });
}
