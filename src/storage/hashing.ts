/**
 * BLAKE3-256 of bytes that pass by.
 *
 * One native hasher per stream; nothing here holds more than the hasher's own state.
 *
 * @module
 */

import { Blake3Hasher } from "@napi-rs/blake-hash";

/** Hash of a sequence of byte chunks, in order. */
export interface ContentHasher {
  update(bytes: Uint8Array): void;
  /** Lower-case hex of everything so far. Call once. */
  digestHex(): string;
}

export function createContentHasher(): ContentHasher {
  const hasher = new Blake3Hasher();
  return {
    update(bytes: Uint8Array): void {
      hasher.update(bytes);
    },
    digestHex(): string {
      return hasher.digest("hex");
    },
  };
}
