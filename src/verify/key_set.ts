/**
 * Remembers keys in constant memory. Pure.
 *
 * @module
 */

/** A set that may say yes for what is not in it, never no for what is: 8 MiB of bits. */
export class KeySet {
  readonly #bits = new Uint32Array(1 << 21);

  add(key: string): void {
    const hash = hashOf(key);
    this.#bits[hash >>> 11]! |= 1 << ((hash >>> 6) & 31);
  }

  mayHave(key: string): boolean {
    const hash = hashOf(key);
    return (this.#bits[hash >>> 11]! & (1 << ((hash >>> 6) & 31))) !== 0;
  }
}

/** FNV-1a, 32 bits, unsigned. */
export function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
