/**
 * Keys of the manifest's tables: strings with one character per byte, which compare as
 * their bytes do. Numbers are big-endian, so that they sort.
 *
 * @module
 */

import { InvariantError } from "../core/assert.ts";

/** 8 bytes. `value` is a whole number from 0 to 2^53 - 1. */
export function u64Key(value: number): string {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new InvariantError(`No u64 key for ${value}`);
  }
  const high = Math.floor(value / 0x1_0000_0000);
  const low = value >>> 0;
  return String.fromCharCode(
    high >>> 24,
    (high >>> 16) & 0xff,
    (high >>> 8) & 0xff,
    high & 0xff,
    low >>> 24,
    (low >>> 16) & 0xff,
    (low >>> 8) & 0xff,
    low & 0xff,
  );
}

/** The inverse of {@linkcode u64Key}, at `offset`. NaN when the key is too short. */
export function u64At(key: string, offset: number): number {
  let value = 0;
  for (let i = 0; i < 8; i++) value = value * 256 + key.charCodeAt(offset + i);
  return value;
}

/** The smallest key that is greater than every key which begins with `prefix`; null: none. */
export function afterPrefix(prefix: string): string | null {
  let end = prefix.length;
  while (end > 0 && prefix.charCodeAt(end - 1) === 0xff) end--;
  if (end === 0) return null;
  return prefix.slice(0, end - 1) +
    String.fromCharCode(prefix.charCodeAt(end - 1) + 1);
}
