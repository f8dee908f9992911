/**
 * Seeded randomness for the long tests: the same seed asks for the same things in the same
 * order (what the kernel makes of it differs from run to run).
 *
 * @module
 */

export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed | 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)]!;
  }

  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.between(0, i);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }

  bytes(size: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(Math.ceil(size / 4) * 4);
    const words = new Uint32Array(bytes.buffer);
    for (let i = 0; i < words.length; i++) words[i] = this.next() * 2 ** 32;
    return bytes.subarray(0, size);
  }
}

/** SEED of the environment or --seed, else a new one; printed, so that a failure can be had again. */
export function seededRandom(wanted: string | undefined): Random {
  const text = wanted ?? Deno.env.get("SEED") ?? `${Math.floor(Math.random() * 2 ** 31)}`;
  const seed = Number(text);
  if (!Number.isSafeInteger(seed)) throw new Error(`SEED=${text}: a number is wanted`);
  // deno-lint-ignore no-console -- whoever reads a failure needs it
  console.log(`SEED=${seed}`);
  return new Random(seed);
}
