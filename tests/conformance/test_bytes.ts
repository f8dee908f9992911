/**
 * Bytes for tests: made from a seed and an offset, so that a source of any size needs no
 * memory and any part of it can be checked alone.
 *
 * @module
 */

import { deepStrictEqual } from "node:assert/strict";
import type {
  DownloadTarget,
  ObjectMetadata,
  UploadSource,
} from "../../src/storage/backend.ts";
import { createContentHasher } from "../../src/storage/hashing.ts";

/** `count` bytes that differ from seed to seed and do not repeat within a part size. */
export function patternBytes(count: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  let state = (seed * 2_654_435_761 + 0x9e3779b9) >>> 0;
  for (let i = 0; i < count; i++) {
    // xorshift32: fast, and good enough to notice bytes in the wrong place.
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    bytes[i] = state & 0xff;
  }
  return bytes;
}

export function hashOf(bytes: Uint8Array): string {
  const hasher = createContentHasher();
  hasher.update(bytes);
  return hasher.digestHex();
}

export function metadataOf(bytes: Uint8Array): ObjectMetadata {
  return { ...NO_METADATA, hash: hashOf(bytes) };
}

export const NO_METADATA: ObjectMetadata = {
  hash: null,
  mtimeNs: null,
  mode: null,
  uid: null,
  gid: null,
  path: null,
};

/** A source that gives odd amounts, as read(2) may. */
export function sourceOf(bytes: Uint8Array): UploadSource {
  return {
    sizeBytes: bytes.length,
    read(buffer: Uint8Array, offset: number): Promise<number> {
      const most = Math.min(buffer.length, 700_001);
      const part = bytes.subarray(offset, offset + most);
      buffer.set(part);
      return Promise.resolve(part.length);
    },
  };
}

/** Keeps what is written, and fails on a write that leaves a hole for good. */
export class MemoryTarget implements DownloadTarget {
  #bytes = new Uint8Array(0);
  writeCount = 0;

  write(bytes: Uint8Array, offset: number): Promise<void> {
    this.writeCount += 1;
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(end);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, offset);
    return Promise.resolve();
  }

  read(buffer: Uint8Array, offset: number): Promise<number> {
    const part = this.#bytes.subarray(offset, offset + buffer.length);
    buffer.set(part);
    return Promise.resolve(part.length);
  }

  expect(bytes: Uint8Array): void {
    deepStrictEqual(this.#bytes.length, bytes.length, "length of what was written");
    deepStrictEqual(hashOf(this.#bytes), hashOf(bytes), "content of what was written");
  }
}
