/**
 * Which paths a walk has met, for a look at those that it has not: a set of 64-bit hashes,
 * in bounded memory. A path that it holds was met, but for a chance of one in 10^13 with
 * a million paths; of one that it does not hold nothing follows.
 *
 * @module
 */

/** 64 MiB of hashes: five million paths. What comes after is not held. */
const SLOTS_MAX = 2 ** 23;
const SLOTS_MIN = 2 ** 12;
const LOAD_MAX = 0.6;

export class SeenPaths {
  /** Two words a slot. Both zero: free. */
  #slots = new Uint32Array(2 * SLOTS_MIN);
  #count = 0;
  readonly #seed: number;
  /** Of the path that was hashed last. */
  #high = 0;
  #low = 0;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  add(path: string): void {
    const slots = this.#slots.length / 2;
    if (this.#count >= slots * LOAD_MAX) {
      if (slots >= SLOTS_MAX) return;
      this.#grow();
    }
    this.#hash(path);
    this.#put(this.#high, this.#low);
  }

  has(path: string): boolean {
    this.#hash(path);
    return this.#slots[this.#slotOf(this.#high, this.#low)] !== 0;
  }

  #put(high: number, low: number): void {
    const at = this.#slotOf(high, low);
    if (this.#slots[at] !== 0) return;
    this.#slots[at] = high;
    this.#slots[at + 1] = low;
    this.#count += 1;
  }

  /** Where the hash is, or where it would be. */
  #slotOf(high: number, low: number): number {
    const mask = this.#slots.length - 1;
    for (let at = (low * 2) & mask;; at = (at + 2) & mask) {
      if (this.#slots[at] === 0) return at;
      if (this.#slots[at] === high && this.#slots[at + 1] === low) return at;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(2 * old.length);
    this.#count = 0;
    for (let at = 0; at < old.length; at += 2) {
      if (old[at] !== 0) this.#put(old[at]!, old[at + 1]!);
    }
  }

  /** cyrb53, with all of its 64 bits. */
  #hash(path: string): void {
    let a = -559_038_737 ^ this.#seed;
    let b = 0x41c6ce57 ^ this.#seed;
    for (let i = 0; i < path.length; i++) {
      const byte = path.charCodeAt(i);
      a = Math.imul(a ^ byte, -1_640_531_535);
      b = Math.imul(b ^ byte, 1_597_334_677);
    }
    a = Math.imul(a ^ (a >>> 16), -2_048_144_789) ^
      Math.imul(b ^ (b >>> 13), -1_028_477_387);
    b = Math.imul(b ^ (b >>> 16), -2_048_144_789) ^
      Math.imul(a ^ (a >>> 13), -1_028_477_387);
    // A first word of zero is a free slot.
    this.#high = (a >>> 0) || 1;
    this.#low = b >>> 0;
  }
}
