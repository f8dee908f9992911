/**
 * Reads an upload's source in order, and says whether it was what the caller declared.
 *
 * Every backend sends bytes through here, so that "never an object whose bytes differ
 * from its recorded hash" holds in one place: the backend calls {@linkcode finish} before
 * the store makes the object visible.
 *
 * @module
 */

import { createContentHasher } from "./hashing.ts";
import type { UploadRequest } from "./backend.ts";
import { StorageError } from "./storage_error.ts";

/** Bytes read, hashed and sent at a time. */
export const TRANSFER_CHUNK_BYTES = 1_048_576;

export interface SourceReader {
  /** Fills `buffer` from the next bytes; fewer than its length only at the end. */
  fill(buffer: Uint8Array): Promise<number>;
  /**
   * Checks what was read against the request, and returns the hash.
   *
   * @throws {StorageError} `corrupt` if the source was shorter, or hashes to another
   * value than `metadata.hash`: the file changed while it was sent.
   */
  finish(): string;
}

export function openSourceReader(request: UploadRequest): SourceReader {
  const { source, metadata, key, signal } = request;
  const hasher = createContentHasher();
  let offset = 0;

  // The file itself changed: to send it again is the caller's decision, who has to hash it
  // again first.
  const corrupt = (detail: string): StorageError =>
    new StorageError("corrupt", { operation: "upload", key, detail, isPermanent: true });

  return {
    async fill(buffer: Uint8Array): Promise<number> {
      const wanted = Math.min(buffer.length, source.sizeBytes - offset);
      let filled = 0;
      while (filled < wanted) {
        signal?.throwIfAborted();
        const room = buffer.subarray(
          filled,
          Math.min(wanted, filled + TRANSFER_CHUNK_BYTES),
        );
        const count = await source.read(room, offset);
        if (count === 0) {
          throw corrupt(
            `the source ended after ${offset} bytes, ${source.sizeBytes} were declared`,
          );
        }
        hasher.update(room.subarray(0, count));
        filled += count;
        offset += count;
      }
      return filled;
    },
    finish(): string {
      const hash = hasher.digestHex();
      if (offset !== source.sizeBytes) {
        throw corrupt(`${offset} bytes were read, ${source.sizeBytes} were declared`);
      }
      if (metadata.hash !== null && metadata.hash !== hash) {
        throw corrupt(
          `the bytes that were read hash to ${hash}, ${metadata.hash} was declared`,
        );
      }
      return hash;
    },
  };
}
