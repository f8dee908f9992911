/**
 * Which keys a listing had, in 8 bytes each: a store may list a hundred million. It may take a
 * key that was not there for one that was (once in some 10^15 questions for each key in it), and
 * never the other way round.
 *
 * @module
 */

import { assert } from "../core/assert.ts";

export class ListedKeys {
  #marks = new Float64Array(1_024);
  #count = 0;
  #isSorted = false;

  /** Before the first question. */
  add(key: string): void {
    assert(!this.#isSorted, "no key is added to a set that was asked already");
    if (this.#count === this.#marks.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#marks);
      this.#marks = larger;
    }
    this.#marks[this.#count++] = markOf(key);
  }

  has(key: string): boolean {
    if (!this.#isSorted) {
      this.#marks = this.#marks.subarray(0, this.#count).sort();
      this.#isSorted = true;
    }
    const wanted = markOf(key);
    let [low, high] = [0, this.#count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#marks[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low < this.#count && this.#marks[low] === wanted;
  }
}

/** 53 bits, which a number holds exactly: two multiplicative hashes, each finished with the other. */
function markOf(key: string): number {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i);
    a = Math.imul(a ^ unit, 2_654_435_761);
    b = Math.imul(b ^ unit, 1_597_334_677);
  }
  a = Math.imul(a ^ (a >>> 16), 2_246_822_507) ^ Math.imul(b ^ (b >>> 13), 3_266_489_909);
  b = Math.imul(b ^ (b >>> 16), 2_246_822_507) ^ Math.imul(a ^ (a >>> 13), 3_266_489_909);
  return (b & 0x1f_ffff) * 2 ** 32 + (a >>> 0);
}
