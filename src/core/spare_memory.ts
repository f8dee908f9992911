/**
 * Memory that is used again: what is new for each transfer waits for the collector, which then
 * holds the event loop for milliseconds, by the hundreds of MiB.
 *
 * Memory may be given back only when nothing can write to it any more.
 *
 * @module
 */

/** What is smaller is cheap to make anew. */
const KEPT_BYTES_MIN = 65_536;

export class SpareMemory {
  readonly #bytesEach: number;
  readonly #countMax: number;
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];

  constructor(
    { bytesEach, countMax }: { readonly bytesEach: number; readonly countMax: number },
  ) {
    this.#bytesEach = bytesEach;
    this.#countMax = countMax;
  }

  /** Of `sizeBytes`, with anything in it. */
  take(sizeBytes: number): Uint8Array<ArrayBuffer> {
    if (sizeBytes < KEPT_BYTES_MIN || sizeBytes > this.#bytesEach) {
      return new Uint8Array(sizeBytes);
    }
    const whole = this.#spare.pop() ?? new Uint8Array(this.#bytesEach);
    return whole.subarray(0, sizeBytes);
  }

  give(memory: Uint8Array<ArrayBuffer>): void {
    const { buffer } = memory;
    const isOurs = buffer.byteLength === this.#bytesEach;
    if (isOurs && this.#spare.length < this.#countMax) {
      this.#spare.push(new Uint8Array(buffer));
    }
  }
}
