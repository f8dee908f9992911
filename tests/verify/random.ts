/**
 * Seeded randomness for tests: the same seed gives the same run.
 *
 * @module
 */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 up to, and without, `below`. */
  int(below: number): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 4294967296 * below);
  }

  chance(oneIn: number): boolean {
    return this.int(oneIn) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.int(choices.length)]!;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = this.int(256);
    return bytes;
  }
}

/** The seed of this run: P4CACHE_SEED, or one that is printed. */
export function runSeed(): number {
  const given = Deno.env.get("P4CACHE_SEED");
  const seed = given === undefined ? Date.now() % 2 ** 31 : Number(given);
  // deno-lint-ignore no-console -- a random test must say how to run it again
  console.log(`P4CACHE_SEED=${seed}`);
  return seed;
}
